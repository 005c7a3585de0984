"""The typed client of Nearmiss's HTTP API: `from app.client import Nearmiss`. It imports nothing of ours.

    with Nearmiss("http://127.0.0.1:7860") as nearmiss:
        job = nearmiss.import_data_set("shop", "/data/shop")
        nearmiss.wait(job)
        for item in nearmiss.suggestions(data_set_id=1):
            nearmiss.decide(item.image_id, item.caption_id, "no_match", suggestion_id=item.suggestion_id)

Answers become frozen dataclasses; fields that this client does not know are in `other`.
"""

import json
import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

import httpx

Answer = Literal["match", "no_match", "unsure", "broken_pair"]
Originals = Literal["copied", "referenced"]
Verb = Literal["cancel", "pause", "resume"]
ExportFormat = Literal["parquet", "tsv", "webdataset", "sentence-transformers"]
OVER = ("finished", "failed", "cancelled")
Found = TypeVar("Found")


class ApiError(Exception):
    """The server's sentence; `status` is the HTTP status, 0 where nothing answered."""

    def __init__(self, sentence: str, status: int) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Job:
    """Work in the background; `reason` says why it waits or how it ended."""

    id: int
    kind: str
    state: str
    done: int
    total: int
    reason: str = ""
    num_rejected: int = 0
    data_set_id: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class DataSet:
    """A collection of pairs with its counts."""

    id: int
    name: str
    source: str
    num_pairs: int
    num_images: int
    num_captions: int
    num_verdicts: int
    num_open_suggestions: int
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Pair:
    """An image and a caption that the data set puts together."""

    id: int
    image_id: int
    caption_id: int
    caption: str
    split: str
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Suggestion:
    """A candidate with a proposed verdict."""

    suggestion_id: int
    image_id: int
    caption_id: int
    caption: str
    proposed: str
    probability: float
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Model:
    """A checkpoint that a run or mining may start from."""

    id: int
    name: str
    location: str
    pretrained: str = ""
    run_id: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Run:
    """One fine-tune; metrics are None until measured."""

    id: int
    job_id: int
    name: str
    data_set_id: int
    state: str
    reason: str
    metrics_before: Mapping[str, Any] | None = None
    metrics_after: Mapping[str, Any] | None = None
    result_model_id: int | None = None
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Event:
    """What a run reported."""

    id: int
    kind: str
    step: int | None
    body: Mapping[str, Any]
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


@dataclass(frozen=True)
class Preview:
    """`rows` say where, image, caption, split, or the reason of a refusal; `problem`: why none could be read."""

    columns: Sequence[str]
    rows: Sequence[Mapping[str, str]]
    problem: str
    other: Mapping[str, Any] = field(default_factory=dict, repr=False)


class Nearmiss:
    """One server. `token` goes out as a bearer token where the server asks for one. Use it in a `with`."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:7860",
        *,
        token: str = "",
        timeout_s: float = 30.0,
        http: httpx.Client | None = None,
    ) -> None:
        headers = {"X-Nearmiss": "1"} | ({"Authorization": f"Bearer {token}"} if token else {})
        self._http = http or httpx.Client(base_url=url, timeout=timeout_s)
        self._http.headers.update(headers)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the connection back."""
        self._http.close()

    # data sets

    def data_sets(self) -> list[DataSet]:
        """All data sets."""
        return [_made(DataSet, one) for one in self._ask("GET", "/api/data-sets")]

    def data_set(self, data_set_id: int) -> DataSet:
        """One data set. Raises ApiError (404)."""
        return _made(DataSet, self._ask("GET", f"/api/data-sets/{data_set_id}"))

    def import_data_set(
        self,
        name: str,
        source: str,
        *,
        columns: Mapping[str, str] | None = None,
        originals: Originals = "copied",
        model_id: int | None = None,
    ) -> Job:
        """Begin an import of a folder or file on the server, of `upload:ID` or `hf:OWNER/NAME`."""
        wish = {"name": name, "source": source, "columns": dict(columns or {}), "originals": originals}
        return self._job("/api/data-sets", wish | ({"model_id": model_id} if model_id else {}))

    def preview(self, source: str, *, columns: Mapping[str, str] | None = None) -> Preview:
        """A source's columns and its first rows as an import would read them."""
        wish = {"source": source, "columns": dict(columns or {})}
        return _made(Preview, self._ask("POST", "/api/previews", wish))

    def import_again(self, data_set_id: int, *, source: str = "") -> Job:
        """Import a changed source again: adds, updates, retires."""
        return self._job(f"/api/data-sets/{data_set_id}/import", {"source": source})

    def upload(self, *paths: str | Path) -> str:
        """Send files in pieces: the source `upload:ID` to import. Folders are sent whole."""
        upload = self._ask("POST", "/api/uploads")
        for path in map(Path, paths):
            files = sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]
            for one in files:
                name = str(one.relative_to(path.parent)) if path.is_dir() else one.name
                self._send(upload["id"], name, one, upload["chunk_bytes"])
        return f"upload:{upload['id']}"

    def export(self, data_set_id: int, format: ExportFormat = "parquet") -> Job:
        """Freeze the present state and write it as an archive; `download` it when the job is finished."""
        return self._job(f"/api/data-sets/{data_set_id}/export", {"format": format})

    def download(self, job_id: int, to: str | Path) -> Path:
        """The archive of a finished export, written to the file `to`. Raises ApiError (404)."""
        return self._save(f"/api/jobs/{job_id}/export", Path(to))

    def mine(self, data_set_id: int, model_id: int | None = None, *, language: str = "auto") -> Job:
        """Look for suggestions with a model or the one that the server would choose (`mining_model_id` of the data set);
        negatives are written in `language` (en, de, fr, es; auto: the captions')."""
        body = {"model_id": model_id, "language": language}
        return self._job(f"/api/data-sets/{data_set_id}/mine", body)

    # items, suggestions, verdicts

    def pairs(self, data_set_id: int, *, words: str = "", split: str = "") -> Iterator[Pair]:
        """All pairs, a page at a time."""
        after: int | str | None = "" if words else 0
        where = "explore" if words else "pairs"
        while after is not None:
            query = {"split": split, "after": after, "limit": 200} | ({"q": words} if words else {})
            page = self._ask("GET", f"/api/data-sets/{data_set_id}/{where}", params=query)
            yield from (_made(Pair, one) for one in page["items"])
            after = page["next"]

    def pair(self, pair_id: int) -> Pair:
        """One pair. Raises ApiError (404)."""
        return _made(Pair, self._ask("GET", f"/api/pairs/{pair_id}"))

    def search(self, data_set_id: int, query: str, *, limit: int = 60) -> list[Pair]:
        """Pairs whose pictures show `query`, by the current model; by words where no search worker answers."""
        asked = {"q": query, "limit": limit}
        found = self._ask("GET", f"/api/data-sets/{data_set_id}/search", params=asked)["items"]
        return [_made(Pair, one) for one in found]

    def picture(self, image_id: int, size: Literal["256", "512", "original"] = "original") -> bytes:
        """The bytes of an image or its thumbnail."""
        return self._answer("GET", f"/api/images/{image_id}/{size}").content

    def suggestions(self, data_set_id: int, *, limit: int = 30, order: str = "mixed") -> list[Suggestion]:
        """What to decide next."""
        query = {"limit": limit, "order": order}
        found = self._ask("GET", f"/api/data-sets/{data_set_id}/queue", params=query)["items"]
        return [_made(Suggestion, {"suggestion_id": one.get("id"), **one}) for one in found]

    def decide(
        self,
        image_id: int,
        caption_id: int,
        answer: Answer,
        *,
        confidence: float = 1.0,
        suggestion_id: int | None = None,
        key: str = "",
    ) -> str:
        """Save a verdict: its UUID. With the `key` of an earlier try the second changes nothing."""
        name = key or str(uuid.uuid4())
        verdict = {"uuid": name, "image_id": image_id, "caption_id": caption_id, "answer": answer}
        verdict |= {"confidence": confidence, "suggestion_id": suggestion_id}
        self._ask("POST", "/api/verdicts", {"verdicts": [verdict]})
        return name

    def write_negative(self, data_set_id: int, image_id: int, text: str, *, key: str = "") -> str:
        """Say in your own words what the image does not show: the UUID of the verdict, which `undo` takes back."""
        name = key or str(uuid.uuid4())
        self._ask(
            "POST",
            f"/api/data-sets/{data_set_id}/written",
            {"uuid": name, "image_id": image_id, "text": text},
        )
        return name

    def undo(self, verdict: str) -> None:
        """Take a verdict back by its UUID."""
        self._ask("POST", "/api/verdicts/undo", {"uuid": str(uuid.uuid4()), "retracts": verdict})

    def verdicts(self, data_set_id: int) -> Iterator[dict[str, Any]]:
        """The standing verdicts, as `clipcore` reads them."""
        lines = self._answer("GET", f"/api/data-sets/{data_set_id}/verdicts.jsonl").text.splitlines()
        return (json.loads(line) for line in lines)

    # models, runs, events

    def models(self) -> list[Model]:
        """All models, the newest last."""
        return [_made(Model, one) for one in self._ask("GET", "/api/models")]

    def add_model(self, location: str, *, pretrained: str = "", name: str = "") -> list[Model]:
        """Add a base model; all models, the newest last."""
        wish = {"location": location, "pretrained": pretrained, "name": name}
        return [_made(Model, one) for one in self._ask("POST", "/api/models", wish)]

    def start_run(
        self,
        data_set_id: int,
        model_id: int,
        *,
        preset: str = "adapter",
        overrides: Mapping[str, Any] | None = None,
        name: str = "",
        key: str = "",
    ) -> Run:
        """Start a fine-tune; the same `key` (8 to 64 characters) again is the same run."""
        wish = {"data_set_id": data_set_id, "model_id": model_id, "preset": preset, "name": name}
        wish |= {"overrides": dict(overrides or {}), "request_key": key or str(uuid.uuid4())}
        return _made(Run, self._ask("POST", "/api/runs", wish)["run"])

    def runs(self, *, data_set_id: int | None = None) -> list[Run]:
        """The newest 50 runs."""
        query = {} if data_set_id is None else {"data_set_id": data_set_id}
        return [_made(Run, one) for one in self._ask("GET", "/api/runs", params=query)["runs"]]

    def run(self, run_id: int) -> Run:
        """One run. Raises ApiError (404)."""
        return _made(Run, self._ask("GET", f"/api/runs/{run_id}"))

    def steer_run(self, run_id: int, verb: Verb) -> Job:
        """Cancel, pause or resume it: its job. Raises ApiError (409) where that is too late."""
        return _made(Job, self._ask("POST", f"/api/runs/{run_id}/{verb}"))

    def checkpoint(self, run_id: int, to: str | Path) -> Path:
        """The result as open_clip loads it, a zip, written to the file `to`. Raises ApiError (404)."""
        return self._save(f"/api/runs/{run_id}/checkpoint", Path(to))

    def events(self, run_id: int, *, after: int = 0) -> Iterator[Event]:
        """What a run reports, as it reports it, to its end (server-sent events)."""
        query = {"after": after}
        with self._http.stream(
            "GET", f"/api/runs/{run_id}/events/stream", params=query, timeout=None
        ) as answer:
            if answer.is_error:
                answer.read()
            _check(answer)
            kind = ""
            for line in answer.iter_lines():
                if line.startswith("event: "):
                    kind = line.removeprefix("event: ")
                elif line.startswith("data: ") and kind != "end":
                    yield _made(Event, json.loads(line.removeprefix("data: ")))

    # jobs

    def job(self, job_id: int) -> Job:
        """One job. Raises ApiError (404)."""
        return _made(Job, self._ask("GET", f"/api/jobs/{job_id}"))

    def cancel(self, job_id: int) -> Job:
        """Have it stopped; what was done so far stays."""
        return _made(Job, self._ask("POST", f"/api/jobs/{job_id}/cancel"))

    def wait(self, job: Job, *, timeout_s: float = 3600.0, every_s: float = 1.0) -> Job:
        """The job at its end. Raises TimeoutError."""
        until = time.monotonic() + timeout_s
        while (job := self.job(job.id)).state not in OVER:
            if time.monotonic() > until:
                raise TimeoutError(f"job {job.id} is still {job.state} after {timeout_s:.0f} s: {job.reason}")
            time.sleep(every_s)
        return job

    def rejected(self, job_id: int) -> str:
        """The rows that an import refused, as CSV: where, reason, remedy. Raises ApiError (404) where none was."""
        return self._answer("GET", f"/api/jobs/{job_id}/rejected").text

    def _save(self, path: str, to: Path) -> Path:
        """In pieces, however large it is."""
        with self._http.stream("GET", path) as answer:
            if answer.is_error:
                answer.read()
            _check(answer)
            with to.open("wb") as file:
                for part in answer.iter_bytes():
                    file.write(part)
        return to

    def _job(self, path: str, wish: Mapping[str, Any]) -> Job:
        return _made(Job, self._ask("POST", path, wish)["job"])

    def _send(self, upload_id: str, name: str, path: Path, chunk_bytes: int) -> None:
        offset = 0
        with path.open("rb") as file:
            while (data := file.read(chunk_bytes)) or offset == 0:
                query = {"name": name, "offset": offset}
                self._answer("PUT", f"/api/uploads/{upload_id}/file", params=query, content=data)
                offset += len(data)
                if len(data) < chunk_bytes:
                    return

    def _ask(self, method: str, path: str, body: Any = None, params: Mapping[str, Any] | None = None) -> Any:
        return self._answer(method, path, json=body, params=params).json()

    def _answer(self, method: str, path: str, **options: Any) -> httpx.Response:
        try:
            answer = self._http.request(method, path, **options)
        except httpx.TransportError as error:
            raise ApiError(f"Nearmiss does not answer ({error}); is it running?", 0) from None
        _check(answer)
        return answer


def _check(answer: httpx.Response) -> None:
    if answer.is_error:
        try:
            sentence = str(answer.json()["error"])
        except (ValueError, KeyError, TypeError):
            sentence = f"the server answered {answer.status_code}"
        raise ApiError(sentence, answer.status_code)


def _made(kind: type[Found], answer: Mapping[str, Any]) -> Found:
    known: Sequence[str] = [one.name for one in fields(kind) if one.name != "other"]  # type: ignore[arg-type]
    rest = {name: value for name, value in answer.items() if name not in known}
    return kind(**{name: answer[name] for name in known if name in answer}, other=rest)  # type: ignore[call-arg]
