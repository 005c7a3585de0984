"""Fuzz: damaged files through the importer's limited processes, and every API route through schemathesis.

    python benchmarks/fuzz.py --cases 50000      (make fuzz)

A file case starts from a valid file and is cut, flipped, spliced or has a run of bytes replaced; it is read exactly as
an import reads it, in the same limited processes. A crash is an exception that is no sentence, or a process that died.
"""

import argparse
import io
import json
import logging
import os
import random
import resource
import shutil
import sys
import tarfile
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from app.errors import NearmissError
from app.media.decoders import DIED, Decoders
from app.media.pictures import check_picture
from app.sources.open_source import columns_of, open_source
from app.sources.vectors import open_vectors

ROUTE_SHARE = 0.4  # of the cases
MAX_ROUNDS = 10
MAX_ROWS = 2_000


@dataclass(frozen=True)
class Case:
    """A damaged file: which kind, and its bytes."""

    kind: str
    data: bytes = field(repr=False)


@dataclass
class Found:
    """What came of the cases."""

    cases: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    crashes: list[str] = field(default_factory=list)
    answers_5xx: list[str] = field(default_factory=list)
    child_peak_mb: float = 0.0


def seeds() -> dict[str, list[bytes]]:
    """Small valid files of every kind."""
    noise = np.random.default_rng(0).integers(0, 256, (24, 30, 3), dtype=np.uint8)
    picture = Image.fromarray(noise)
    modes = {
        "PNG": ["RGB", "L", "P", "LA", "RGBA", "I;16", "1"],
        "JPEG": ["RGB", "L", "CMYK"],
        "WEBP": ["RGB", "RGBA"],
        "GIF": ["P", "L"],
        "BMP": ["RGB", "L", "1"],
        "TIFF": ["RGB", "CMYK", "I;16", "F", "1"],
    }
    pictures = [_saved(picture, name, mode) for name, some in modes.items() for mode in some]
    good = _saved(picture, "PNG", "RGB")
    lines = [{"image": "0.png", "caption": f"words {i} é “”"} for i in range(5)]
    csv = "image,caption,split\n" + "".join(f'0.png,"words, {i}",train\n' for i in range(5))
    coco = {"images": [{"id": 1, "file_name": "0.png"}], "annotations": [{"image_id": 1, "caption": "x"}]}
    return {
        "picture": pictures,
        "csv": [csv.encode(), csv.replace(",", "\t").encode("utf-16"), b"0.png#0\tone\n0.png#1\ttwo\n"],
        "jsonl": ["".join(json.dumps(line) + "\n" for line in lines).encode()],
        "json": [json.dumps(coco).encode()],
        "parquet": [_parquet(good, name) for name in ("NONE", "SNAPPY", "ZSTD")],
        "tar": [_tar(good, "w"), _tar(good, "w:gz")],
        "npy": [_npy(np.ones((2, 4), np.float16))],
    }


def damaged(random_: random.Random, seed: bytes, other: bytes) -> bytes:
    """The seed with one to four wounds."""
    data = bytearray(seed)
    for _ in range(random_.randint(1, 4)):
        at = random_.randrange(len(data) + 1)
        way = random_.randrange(7)
        if way == 0:
            data = data[:at]
        elif way == 1 and data:
            data[at % len(data)] ^= 1 << random_.randrange(8)
        elif way == 2:
            data[at : at + random_.randint(1, 8)] = random_.randbytes(random_.randint(1, 8))
        elif way == 3:
            data[at:at] = random_.choice(
                (b"\0" * 64, b"\xff" * 16, b'"' * 9, b"\n" * 5, b"[" * 999, b"\xed\xa0\x80")
            )
        elif way == 4:
            data[at:at] = other[: random_.randrange(len(other) + 1)]
        elif way == 5 and len(data) > 8:
            size = random_.choice((1, 2, 4, 8))
            data[at : at + size] = random_.choice((b"\xff", b"\x7f", b"\0")) * size  # lengths and counts
        else:
            data += data[: random_.randrange(200)]
    return bytes(data)


def cases(num: int, seed: int) -> Iterator[Case]:
    """Damaged files, all kinds in turn; pictures more often."""
    random_, all_ = random.Random(seed), seeds()
    kinds = ["picture"] * 4 + [kind for kind in all_ if kind != "picture"]
    for i in range(num):
        kind = kinds[i % len(kinds)]
        yield Case(kind, damaged(random_, random_.choice(all_[kind]), random_.choice(all_[kind])))


def read(case: Case) -> str:
    """In a limited process: "read", "refused", or what crashed."""
    warnings.simplefilter("ignore")
    try:
        with tempfile.TemporaryDirectory(prefix="nm-fuzz-") as folder:
            return _read(case, Path(folder))
    except NearmissError as error:
        return "refused" if "\n" not in str(error) else f"not one sentence: {error!r}"
    except MemoryError:
        return f"{case.kind}: out of memory"
    except Exception as error:
        return f"{case.kind}: {type(error).__name__}: {str(error)[:120]}"


def read_measured(case: Case) -> tuple[str, float]:
    """The answer, and the most memory that this process ever held, in MB."""
    answer = read(case)
    return answer, _peak_mb()


def _peak_mb() -> float:
    """Of this program alone: ru_maxrss also remembers the process that started it."""
    status = Path("/proc/self/status")
    if not status.exists():
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return next(
        int(line.split()[1]) / 1024 for line in status.read_text().splitlines() if line.startswith("VmHWM")
    )


def _read(case: Case, folder: Path) -> str:
    if case.kind == "picture":
        check_picture(case.data)
        return "read"
    (folder / "0.png").write_bytes(b"x")
    if case.kind == "npy":
        for name in ("img_emb", "text_emb", "metadata"):
            (folder / name).mkdir()
        pq.write_table(
            pa.table({"image_path": ["0.png"] * 2, "caption": ["a", "b"]}), folder / "metadata" / "0.parquet"
        )
        (folder / "img_emb" / "0.npy").write_bytes(case.data)
        (folder / "text_emb" / "0.npy").write_bytes(case.data)
        kept = open_vectors(folder)
        kept.take(0, np.arange(2))
        return "read"
    path = folder / f"x.{case.kind}"
    path.write_bytes(case.data)
    columns_of(str(path))
    for row in islice(open_source(str(path), roots=[folder])[0], MAX_ROWS):
        row.where.encode("utf-8", "backslashreplace")
    return "read"


def fuzz_files(found: Found, num: int, seed: int) -> None:
    """Through the importer's own pool."""
    with Decoders[Case, tuple[str, float]](read_measured, num_processes=2) as decoders:
        for case, measured in decoders.map(cases(num, seed)):
            found.cases[case.kind] += 1
            answer, peak_mb = (measured, 0.0) if isinstance(measured, str) else measured
            found.child_peak_mb = max(found.child_peak_mb, peak_mb)
            if answer == DIED:
                found.crashes.append(f"{case.kind}: the process died on {case.data[:40]!r}")
            elif answer == "refused":
                found.refused += 1
            elif answer != "read":
                found.crashes.append(answer)


def fuzz_routes(found: Found, num: int, seed: int) -> None:
    """Every route of the OpenAPI document with what its schema allows and what it does not."""
    import hypothesis
    import schemathesis
    from fastapi.testclient import TestClient
    from schemathesis import GenerationMode

    from app.api import create_app
    from app.settings import Settings
    from app.store.database import Database
    from app.store.schema import migrate

    logging.disable(logging.CRITICAL)
    home = Path(tempfile.mkdtemp(prefix="nm-fuzz-home-"))
    (home / "open").mkdir()
    settings = Settings(home=home, import_roots=str(home / "open"), upload_gb=0.01)
    database = Database(settings)
    migrate(database.engine)
    _fill(database)
    app = create_app(settings)
    headers = {"X-Nearmiss": "1"}
    try:
        with TestClient(
            app, base_url="http://127.0.0.1:7860", headers=headers, raise_server_exceptions=False
        ) as client:
            document = client.get("/api/openapi.json").json()
            schema = schemathesis.openapi.from_dict(document)
            operations = [one.ok() for one in schema.get_all_operations()]
            each = max(1, num // (2 * len(operations)))
            for again in range(MAX_ROUNDS):  # a route that takes little has fewer cases than its share
                for operation in operations:
                    for mode in (GenerationMode.POSITIVE, GenerationMode.NEGATIVE):
                        if found.cases["route"] < num:
                            _fuzz_route(found, client, operation, mode, each, seed + again, hypothesis)
    finally:
        logging.disable(logging.NOTSET)
        database.close()
        shutil.rmtree(home, ignore_errors=True)


def _fuzz_route(
    found: Found, client: Any, operation: Any, mode: Any, num: int, seed: int, hypothesis: Any
) -> None:
    @hypothesis.seed(seed)
    @hypothesis.settings(
        max_examples=num,
        deadline=None,
        database=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(operation.as_strategy(generation_mode=mode))
    def ask(case: Any) -> None:
        found.cases["route"] += 1
        where = f"{operation.method.upper()} {operation.path}"
        try:
            status, said = _send(client, case)
        except _NotSendable:
            return
        except Exception as error:
            found.crashes.append(f"{where}: {type(error).__name__}: {str(error)[:120]}")
            return
        if status >= 500 and status != 503:  # 503: the broker of this test is away, and says so
            found.answers_5xx.append(f"{where}: {status} {said[:120]}")

    try:
        ask()
    except (hypothesis.errors.Unsatisfiable, hypothesis.errors.InvalidArgument):
        return  # no wrong request exists for a route that takes nothing
    except Exception as error:
        if "negative" not in str(error).lower() and "skip" not in type(error).__name__.lower():
            raise


class _NotSendable(Exception):
    """What no HTTP client can write down."""


def _send(client: Any, case: Any) -> tuple[int, str]:
    options = case.as_transport_kwargs(base_url="http://127.0.0.1:7860")
    headers = {
        k: v for k, v in dict(options.get("headers") or {}).items() if k.lower() not in ("host", "origin")
    }
    body = {key: options[key] for key in ("json", "data", "files") if options.get(key) is not None}
    if isinstance(body.get("data"), bytes | str):
        body["content"] = body.pop("data")
    try:
        request = client.build_request(
            options["method"],
            options["url"],
            params=options.get("params"),
            headers=headers | {"X-Nearmiss": "1"},
            cookies=None,
            **body,
        )
    except Exception as error:  # the client itself refuses to write it down
        raise _NotSendable from error
    answer = client.send(request)
    return answer.status_code, answer.text


def _fill(database: Any) -> None:
    from app.actions.add_model import add_model
    from app.actions.add_rows import NewRow, add_rows
    from app.store.models import DataSet

    with database.transaction() as session:
        session.add(DataSet(id=1, name="x"))
        session.flush()
        rows = [NewRow(f"{i}.png", f"{i:064x}", 8, 8, f"thing {i}") for i in range(5)]
        add_rows(session, data_set_id=1, rows=rows)
        add_model(session, name="tiny", location="local-dir:tiny")


def _saved(picture: Image.Image, name: str, mode: str) -> bytes:
    out = io.BytesIO()
    if mode == "I;16":
        made = Image.fromarray(np.asarray(picture.convert("L"), np.uint16) * 257)
    elif mode == "LA":
        made = picture.convert("L").convert("LA")
    else:
        made = picture.convert(mode)
    made.save(out, name)
    return out.getvalue()


def _parquet(good: bytes, compression: str) -> bytes:
    out = io.BytesIO()
    pictures = [{"bytes": good, "path": "0.png"}] * 3
    pq.write_table(pa.table({"image": pictures, "caption": ["a", "b", "c"]}), out, compression=compression)
    return out.getvalue()


def _tar(good: bytes, mode: str) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode=mode) as archive:  # type: ignore[call-overload]
        for name, data in (
            ("a.png", good),
            ("a.txt", b"one"),
            ("b.png", good),
            ("b.json", b'{"caption": "two"}'),
        ):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _npy(array: Any) -> bytes:
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def fuzz(num: int, seed: int) -> Found:
    """`num` cases, four of ten against the routes."""
    found = Found()
    fuzz_files(found, round(num * (1 - ROUTE_SHARE)), seed)
    fuzz_routes(found, round(num * ROUTE_SHARE), seed)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cases", type=int, default=50_000)
    parser.add_argument("--seed", type=int, default=int.from_bytes(os.urandom(3), "big"))
    parser.add_argument("--no-write", action="store_true", help="print only")
    asked = parser.parse_args()
    found = fuzz(asked.cases, asked.seed)
    for what in [*Counter(found.crashes).most_common(20), *Counter(found.answers_5xx).most_common(20)]:
        print(what)
    figures = {
        "cases": sum(found.cases.values()),
        "crashes": len(found.crashes),
        "answers_5xx": len(found.answers_5xx),
        "child_peak_mb": found.child_peak_mb,
    }
    notes = {"seed": asked.seed, "by_kind": dict(found.cases), "refused": found.refused}
    if asked.no_write:
        print(figures, notes)
    else:
        from result import write_result

        write_result("fuzz", figures, **notes)
    return 1 if found.crashes or found.answers_5xx else 0


if __name__ == "__main__":
    sys.exit(main())
