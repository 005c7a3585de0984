"""Web, worker, training process, broker and database killed at random while runs and verdicts go on: is anything lost?

    python benchmarks/kill_anything.py --kills 300 [--no-write]

One `nearmiss up` on a Postgres of its own, leases of 3 s. Two clients never stop: one submits fine-tunes (each with a
request key, sent again until it is answered; now and then one is paused and resumed), one gives verdicts (each with an
UUID, sent again until it is answered, written to a ledger then). At the end every submit must be exactly one run that
finished exactly once with one resulting model and the weights of an undisturbed run, bit by bit; every verdict of the
ledger must stand in the table exactly once.
"""

import argparse
import contextlib
import csv
import hashlib
import json
import random
import sys
import threading
import time
import urllib.error
import uuid
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from clock import AWAY
from installation import Installation
from PIL import Image
from result import write_result
from servers import Postgres
from sqlalchemy import create_engine, text

LEASE_S = 3.0
NUM_SEEDS = 2
SETTINGS = {
    "epochs": 1000,
    "max_steps": 60,
    "save_every_s": 0.5,
    "batch": {"size": 16, "micro_batch": 6},
    "evaluation": {"sweep": 0},
}
ARCHITECTURE = {
    "model_cfg": {
        "embed_dim": 32,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
    },
    "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3},
}
TARGETS = {
    "web": "app.web",
    "worker": "-Q gpu",
    "training": "worker.job",
    "broker": "valkey-server",
    "database": "",
}
SHARES = (
    25,
    10,
    15,
    25,
    25,
)  # a training process needs some seconds to begin: killed more often it would never train


def main() -> int:
    """The exit code is 1 when anything was lost, doubled or different."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=300)
    parser.add_argument("--pause", type=float, default=6.0, help="mean seconds between kills")
    parser.add_argument(
        "--minutes", type=float, default=120.0, help="end the killing then, however many there were"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--no-write", action="store_true")
    given = parser.parse_args()
    postgres = Postgres()
    nearmiss = Installation(
        NEARMISS_DATABASE_URL=postgres.url, NEARMISS_LEASE_S=str(LEASE_S), NEARMISS_MAX_ATTEMPTS="1000"
    )
    try:
        campaign = Campaign(nearmiss, postgres, random.Random(given.seed))
        campaign.prepare()
        began = time.monotonic()
        campaign.disturb(given.kills, given.pause, given.minutes)
        campaign.settle()
        figures = campaign.judge()
        minutes = round((time.monotonic() - began) / 60, 1)
    finally:
        nearmiss.close()
        postgres.close()
    bad = ("lost_jobs", "doubled_jobs", "lost_verdicts", "doubled_verdicts", "differing_results")
    if not given.no_write:
        write_result(
            "kill_anything", figures, of_each=dict(campaign.killed), minutes=minutes, lease_s=LEASE_S
        )
    else:
        print(json.dumps(figures), dict(campaign.killed), f"{minutes} minutes")
    return int(any(figures[name] for name in bad))


def pictures(folder: Path) -> None:
    """A new folder with metadata.csv: 48 pictures of noise, eight of them held out."""
    folder.mkdir()
    random_pixels = np.random.default_rng(0)
    with (folder / "metadata.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["file_name", "text", "split"])
        for i in range(48):
            pixels = random_pixels.integers(0, 255, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(folder / f"{i}.png")
            table.writerow([f"{i}.png", f"a thing number {i}", "held_out" if i >= 40 else "train"])


class Campaign:
    """The clients, the killer and the judge."""

    def __init__(self, nearmiss: Installation, postgres: Postgres, chance: random.Random):
        self.nearmiss, self.postgres, self.chance = nearmiss, postgres, chance
        self.killed: Counter[str] = Counter()
        self.submitted: dict[str, tuple[int, int]] = {}  # request key → (run, seed)
        self.ledger: list[str] = []  # UUIDs of answered verdicts
        self.stopped = threading.Event()

    # -- before ----------------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Two data sets of 48 small pictures (one to train on, one to judge), a model, the undisturbed runs."""
        folder = self.nearmiss.home / "pictures"
        pictures(folder)
        for name in ("training", "desk"):
            self.nearmiss.command("import", str(folder), "--name", name)
        model = self.nearmiss.home / "architecture"
        model.mkdir()
        (model / "open_clip_config.json").write_text(json.dumps(ARCHITECTURE))
        self.nearmiss.command("add-model", f"local-dir:{model}", "--name", "tiny")
        said = [(1, 2, "match"), (3, 4, "no_match"), (6, 7, "unsure")]
        for image, caption, answer in said:
            self._verdict(str(uuid.uuid4()), data_set_id=1, image=image, caption=caption, answer=answer)
        self.expected = {seed: self._undisturbed(seed) for seed in range(NUM_SEEDS)}
        print(f"prepared; an undisturbed run takes {self.run_s:.0f} s", flush=True)

    def _undisturbed(self, seed: int) -> str:
        began = time.monotonic()
        run_id = self._submit(f"undisturbed-{seed}", seed)
        self.nearmiss.wait("the undisturbed run", lambda: self._state(run_id) == "finished", timeout_s=1200)
        self.run_s = time.monotonic() - began
        return hashlib.sha256(self.nearmiss.weights(run_id)).hexdigest()

    # -- the clients -----------------------------------------------------------------------------------------

    def _submit(self, key: str, seed: int) -> int:
        body = {
            "data_set_id": 1,
            "model_id": 1,
            "preset": "scratch",
            "overrides": SETTINGS | {"seed": seed},
            "name": key,
            "request_key": key,
        }
        run_id = int(self._persist(lambda: self.nearmiss.post("/api/runs", body))["run"]["id"])
        self.submitted[key] = run_id, seed
        return run_id

    def _verdict(self, key: str, *, data_set_id: int, image: int, caption: int, answer: str) -> None:
        verdict = {
            "uuid": key,
            "data_set_id": data_set_id,
            "image_id": image,
            "caption_id": caption,
            "answer": answer,
        }
        self._persist(lambda: self.nearmiss.post("/api/verdicts", {"verdicts": [verdict]}, timeout_s=10))

    def _persist(self, ask: Callable[[], Any]) -> Any:
        """The answer, asked for again and again while web or database are away."""
        while True:
            try:
                return ask()
            except urllib.error.HTTPError as error:
                if error.code < 500:
                    raise RuntimeError(f"refused: {error.read().decode()}") from None
            except AWAY:
                pass
            time.sleep(0.2)

    def _judge_pictures(self) -> None:
        """A person who never stops: image and caption of the desk's data set, any answer."""
        chance = random.Random(1)
        while not self.stopped.is_set():
            key = str(uuid.UUID(int=chance.getrandbits(128), version=4))
            image, caption = chance.sample(range(49, 97), 2)
            answer = chance.choice(["match", "no_match", "unsure"])
            self._verdict(key, data_set_id=2, image=image, caption=caption, answer=answer)
            self.ledger.append(key)
            time.sleep(0.1)

    def _submit_runs(self) -> None:
        """Keeps two runs waiting or running; pauses one in five for a moment."""
        chance = random.Random(2)
        while not self.stopped.is_set():
            if len(self._open()) < 2:
                number = len(self.submitted)
                run_id = self._submit(f"disturbed-{number}", number % NUM_SEEDS)
                if chance.random() < 0.2:
                    time.sleep(chance.uniform(0, 10))
                    self._steer(run_id, "pause")
                    time.sleep(chance.uniform(0, 5))
                    self._steer(run_id, "resume")
            time.sleep(0.5)
        for run_id in self._open():  # a resume that met a pause under way was refused
            self._steer(run_id, "resume")

    def _steer(self, run_id: int, verb: str) -> None:
        with contextlib.suppress(*AWAY):  # or in a state that refuses it: settled later
            self.nearmiss.post(f"/api/runs/{run_id}/{verb}")

    def _open(self) -> list[int]:
        runs = self._persist(lambda: self.nearmiss.get("/api/runs?limit=200"))["runs"]
        for run in runs:
            if run["state"] == "paused":
                self._steer(run["id"], "resume")
        return [run["id"] for run in runs if run["state"] not in ("finished", "failed", "cancelled")]

    def _state(self, run_id: int) -> str:
        return str(self.nearmiss.get(f"/api/runs/{run_id}")["state"])

    # -- the killer ------------------------------------------------------------------------------------------

    def disturb(self, kills: int, pause_s: float, minutes: float) -> None:
        """Kills one thing after the other while both clients work."""
        self.clients = [threading.Thread(target=work) for work in (self._judge_pictures, self._submit_runs)]
        for client in self.clients:
            client.start()
        try:
            give_up = time.monotonic() + 60 * minutes
            while self.killed.total() < kills and time.monotonic() < give_up:
                time.sleep(self.chance.uniform(0.3, 1.7) * pause_s)
                self._kill(self.chance.choices(list(TARGETS), weights=SHARES)[0])
        finally:
            self.stopped.set()

    def _kill(self, target: str) -> None:
        if target == "database":
            self.postgres.kill()
            time.sleep(self.chance.uniform(0, 2))
            self.postgres.start()
        elif not self.nearmiss.kill(TARGETS[target]):
            return  # it has not come back yet from the last one
        self.killed[target] += 1
        said = f"{self.killed.total()} kills, {len(self.submitted)} runs, {len(self.ledger)} verdicts"
        print(f"{time.strftime('%H:%M:%S')} {said}: {target}", flush=True)

    def settle(self) -> None:
        """Both clients have their last answer, and every run has ended."""
        for client in self.clients:
            client.join()
        limit_s = 300 + 10 * self.run_s
        try:
            self.nearmiss.wait("the end of all runs", lambda: not self._open(), timeout_s=limit_s)
        except RuntimeError as error:
            print(error)

    # -- the judge -------------------------------------------------------------------------------------------

    def judge(self) -> dict[str, int]:
        """Counts from the tables themselves."""
        engine = create_engine(self.postgres.url)
        with engine.connect() as connection:
            jobs = connection.execute(
                text(
                    "select j.request_key, j.state, r.id, r.checkpoint_key from runs r join jobs j on j.id = r.job_id"
                    " where j.request_key is not null"
                )
            ).all()
            ends = dict(
                connection.execute(
                    text(
                        "select r.id, count(*) from events e join runs r on r.job_id = e.job_id"
                        " where e.kind = 'state' and e.body ->> 'to' = 'finished' group by r.id"
                    )
                ).all()
            )
            models = dict(
                connection.execute(
                    text("select run_id, count(*) from models where run_id is not null group by run_id")
                ).all()
            )
            verdicts = Counter(
                connection.execute(text("select uuid from verdicts where data_set_id = 2")).scalars()
            )
        engine.dispose()
        finished = {key: run_id for key, state, run_id, _ in jobs if state == "finished"}
        rows = Counter(key for key, *_ in jobs)
        differing = [
            key
            for key, run_id in finished.items()
            if hashlib.sha256(self.nearmiss.weights(run_id)).hexdigest()
            != self.expected[self.submitted[key][1]]
        ]
        for key, state, *_ in jobs:
            if state != "finished":
                print(f"run {key} is {state}")
        return {
            "kills": self.killed.total(),
            "lost_jobs": sum(key not in finished for key in self.submitted),
            "doubled_jobs": sum(n > 1 for n in (*rows.values(), *ends.values(), *models.values()))
            + sum(key not in self.submitted for key in rows),
            "lost_verdicts": sum(key not in verdicts for key in self.ledger),
            "doubled_verdicts": sum(n > 1 for n in verdicts.values()) + len(set(verdicts) - set(self.ledger)),
            "differing_results": len(differing),
            "runs": len(self.submitted),
            "verdicts": len(self.ledger),
        }


if __name__ == "__main__":
    sys.exit(main())
