"""What a run leaves on the worker's disk for people and their tools: `HOME/runs/run-ID/`.

| file | what |
|---|---|
| config.yaml | the frozen configuration: `nearmiss finetune config.yaml` runs it again |
| snapshot.json | hash, counts and media keys of the data and verdicts |
| metrics.jsonl | a line a step and a line an evaluation; after a resume without what was done twice |
| train.log | what happened, with times in UTC |
| checkpoints/ | to resume from, while it runs |
| checkpoint/ | the result, a plain open_clip folder |
| tensorboard/ | the same numbers and the similarities' histograms, where TensorBoard is installed |
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from clipcore.events import Evaluated, Event, Finished, Saved, SimilaritiesSeen, Started, StepDone
from worker.trackers import Trackers


class RunFolder:
    """Writes a line at each event; a line is whole or, after a kill, cut at the end of the file and dropped."""

    def __init__(self, path: Path, *, config_yaml: str, snapshot: dict[str, Any], name: str):
        self.path = path
        path.mkdir(parents=True, exist_ok=True)
        (path / "config.yaml").write_text(config_yaml, encoding="utf-8")
        (path / "snapshot.json").write_text(json.dumps(snapshot, indent=2) + "\n", encoding="utf-8")
        self._name, self._config_yaml = name, config_yaml
        self._trackers: Trackers | None = None

    def take(self, event: Event) -> None:
        """Keeps what the event says."""
        if isinstance(event, Started):
            self._forget_after(event.resumed_from)
            self._trackers = Trackers(
                self.path,
                name=self._name,
                config_yaml=self._config_yaml,
                from_step=event.resumed_from,
                log=self.log,
            )
            self.log(
                f"{'resumed from step' if event.resumed_from else 'started at step'} {event.resumed_from}"
            )
            for remark in event.remarks:
                self.log(remark)
        elif isinstance(event, StepDone):
            values = {"loss": event.loss, "lr": event.lr, "logit_scale": event.logit_scale, **event.parts}
            self._measured("step", event.step, values | {"pairs_per_s": round(event.pairs_per_s, 1)})
        elif isinstance(event, Evaluated):
            self._measured(event.when, event.step, event.metrics)
            self._counted(event.step, event.histograms)
            self.log(f"evaluated {event.when} at step {event.step}")
        elif isinstance(event, SimilaritiesSeen):
            self._counted(event.step, event.histograms)
        elif isinstance(event, Saved):
            self.log(f"checkpoint of step {event.step}")
        elif isinstance(event, Finished):
            self.log(f"stopped at step {event.step}: {event.stopped}" if event.stopped else "finished")
            if self._trackers is not None:
                self._trackers.close()

    def log(self, text: str) -> None:
        """A line of train.log."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        with (self.path / "train.log").open("a", encoding="utf-8") as file:
            file.write(f"{now} {text}\n")

    def _measured(self, what: str, step: int, values: dict[str, float]) -> None:
        finite = {name: value if value == value else None for name, value in values.items()}
        with (self.path / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps({"what": what, "step": step, **finite}) + "\n")
        if self._trackers is not None:
            self._trackers.take(what, step, values)

    def _counted(self, step: int, histograms: dict[str, list[int]]) -> None:
        if self._trackers is not None:
            self._trackers.take_histograms(step, histograms)

    def _forget_after(self, step: int) -> None:
        """Drops the lines of steps that are done again now, and all of an earlier attempt that began anew."""
        path = self.path / "metrics.jsonl"
        if not path.exists():
            return
        kept = [line for line in path.read_text(encoding="utf-8").splitlines() if _up_to(line, step)]
        path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _up_to(line: str, step: int) -> bool:
    try:
        return step > 0 and int(json.loads(line)["step"]) <= step
    except (ValueError, KeyError):
        return False  # cut by a kill
