"""What differs between runs: configuration, verdicts, curves, and metrics with intervals paired query by query."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.counted import counted
from app.errors import NearmissError
from app.media.snapshots import get_table
from app.media.store import MediaStore
from app.store.database import settings_of
from app.store.models import Event, Model, Run, Snapshot
from app.store.reads.runs import get_run
from clipcore.config import FineTuneConfig, Use
from clipcore.interval import paired_interval

MOST_RUNS = 6
CURVE_POINTS = 300
Candidate = tuple[int, int]  # image and caption


@dataclass(frozen=True)
class Difference:
    """A value of the configuration that is not the same in all runs; `path` is its place in the YAML."""

    path: str
    values: list[Any]


@dataclass(frozen=True)
class VerdictChange:
    """What the verdicts of a run's snapshot have that the first run's have not, and the other way round."""

    counts: dict[str, int]
    added: int
    removed: int
    changed: int


@dataclass(frozen=True)
class Gain:
    """mAP@R of one run less another measure's, on the same queries; `against` None stands for the run's own base model.

    The interval is a bootstrap over components of "is true of", so that queries on one drawing count once.
    """

    run_id: int
    against: int | None
    gain: float
    low: float | None
    high: float | None
    num_queries: int


@dataclass(frozen=True)
class ComparedRun:
    """One column of the comparison."""

    id: int
    name: str
    state: str
    model: str
    arm: str  # labels.use
    counts: dict[str, int]
    metrics_before: dict[str, Any] | None
    metrics_after: dict[str, Any] | None
    curve: list[list[float]]  # [step, loss]
    verdicts: VerdictChange


@dataclass(frozen=True)
class Comparison:
    """Runs side by side, the first being what the others are held against; `notes` are sentences of caution.

    `conclusion` is what the arms of a controlled comparison say together; empty where they are not all measured.
    """

    runs: list[ComparedRun]
    config: list[Difference]
    gains: list[Gain]
    notes: list[str]
    conclusion: str


def compare_runs(session: Session, *, run_ids: Sequence[int]) -> Comparison:
    """Raises NotFound, and NearmissError for fewer than two or more than six runs."""
    ids = list(dict.fromkeys(run_ids))
    if not 2 <= len(ids) <= MOST_RUNS:
        raise NearmissError(f"{counted(len(ids), 'run')} cannot be compared: choose two to {MOST_RUNS}")
    found = [get_run(session, run_id) for run_id in ids]
    runs = [run for run, _ in found]
    store = MediaStore(settings_of(session).resolved_media_url)
    tables = {id_: _verdicts(session, store, id_) for id_ in {run.snapshot_id for run in runs}}
    first = tables[runs[0].snapshot_id]
    configs = [FineTuneConfig.from_yaml(run.config_yaml) for run in runs]
    columns = [
        ComparedRun(
            id=run.id,
            name=run.name,
            state=job.state,
            model=session.get_one(Model, run.model_id).name,
            arm=config.labels.use,
            counts=run.preflight.get("labels", {}),
            metrics_before=run.metrics_before,
            metrics_after=run.metrics_after,
            curve=_curve(session, run),
            verdicts=_change(first, tables[run.snapshot_id]),
        )
        for (run, job), config in zip(found, configs, strict=True)
    ]
    arms = {config.labels.use: run.id for run, config in zip(runs, configs, strict=True)}
    controlled = len(runs) == len(arms) == 3 and len({run.experiment for run in runs} | {None}) == 2
    between = [(arms["given"], arms["sham"])] if controlled else []
    gains = _gains(session, store, runs, between)
    return Comparison(
        runs=columns,
        config=_differences(configs),
        gains=gains,
        notes=_notes(runs, tables),
        conclusion=_conclusion(gains, arms) if controlled else "",
    )


def gains_of_run(session: Session, run: Run) -> list[Gain]:
    """A run against its own base model; empty until it is measured."""
    return _gains(session, MediaStore(settings_of(session).resolved_media_url), [run])


def arms_of(session: Session, run: Run) -> list[int]:
    """The ids of the runs that were started with this one as the arms of a comparison, in the order of the start."""
    if run.experiment is None:
        return []
    return list(session.scalars(select(Run.id).where(Run.experiment == run.experiment).order_by(Run.id)))


def _verdicts(session: Session, store: MediaStore, snapshot_id: int) -> dict[Candidate, str]:
    columns = get_table(store, session.get_one(Snapshot, snapshot_id).verdicts_key).to_pydict()
    return dict(zip(zip(columns["image_id"], columns["caption_id"]), columns["answer"]))


def _change(first: dict[Candidate, str], other: dict[Candidate, str]) -> VerdictChange:
    counts: dict[str, int] = {}
    for answer in other.values():
        counts[answer] = counts.get(answer, 0) + 1
    return VerdictChange(
        counts=counts,
        added=len(other.keys() - first.keys()),
        removed=len(first.keys() - other.keys()),
        changed=sum(first[key] != other[key] for key in first.keys() & other.keys()),
    )


def _differences(configs: Sequence[FineTuneConfig]) -> list[Difference]:
    flat = [dict(_flat(asdict(config))) for config in configs]
    paths = list(dict.fromkeys(path for one in flat for path in one))
    rows = [Difference(path, [one.get(path) for one in flat]) for path in paths]
    return [row for row in rows if any(value != row.values[0] for value in row.values)]


def _flat(values: dict[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(f"{before}{name}", value)]
    return found


def _curve(session: Session, run: Run) -> list[list[float]]:
    """[step, mean loss] at no more than 300 places."""
    steps = select(Event.body).where(Event.job_id == run.job_id, Event.kind == "step").order_by(Event.id)
    points = [point for body in session.scalars(steps) for point in body.get("points", [])]
    size = -(-len(points) // CURVE_POINTS) or 1
    parts = [points[i : i + size] for i in range(0, len(points), size)]
    return [[part[-1][0], round(sum(p[1] for p in part) / len(part), 5)] for part in parts]


def _gains(
    session: Session, store: MediaStore, runs: Sequence[Run], between: Sequence[tuple[int, int]] = ()
) -> list[Gain]:
    """Each run against its base, then each further run against the first, then the ids of `between`."""
    before = {run.id: _queries(session, store, run, "before") for run in runs}
    after = {run.id: _queries(session, store, run, "after") for run in runs}
    pairs: list[tuple[int, int | None, Any, Any]] = [
        (run.id, None, before[run.id], after[run.id]) for run in runs
    ]
    pairs += [(run.id, runs[0].id, after[runs[0].id], after[run.id]) for run in runs[1:]]
    pairs += [(run, against, after[against], after[run]) for run, against in between]
    return [_gain(run, against, a, b) for run, against, a, b in pairs if a is not None and b is not None]


def _queries(session: Session, store: MediaStore, run: Run, when: str) -> dict[str, Any] | None:
    events = (
        select(Event.body).where(Event.job_id == run.job_id, Event.kind == "evaluated").order_by(Event.id)
    )
    keys = [b["queries_key"] for b in session.scalars(events) if b["when"] == when and "queries_key" in b]
    return json.loads(store.get(keys[-1])) if keys else None


def _gain(run_id: int, against: int | None, first: dict[str, Any], second: dict[str, Any]) -> Gain:
    was = dict(zip(first["ids"], first["map_at_r"]))
    rows = [
        (was[id_], value, cluster)
        for id_, value, cluster in zip(second["ids"], second["map_at_r"], second["cluster"], strict=True)
        if id_ in was
    ]
    if not rows:
        return Gain(run_id, against, 0.0, None, None, 0)
    table = np.array(rows, dtype=np.float64)
    gain, low, high = paired_interval(table[:, 0], table[:, 1], table[:, 2].astype(int).tolist())
    known = low == low
    return Gain(run_id, against, gain, low if known else None, high if known else None, len(rows))


def _conclusion(gains: Sequence[Gain], arms: dict[Use, int]) -> str:
    """Verdicts help when they beat both no labels and as many random ones; one seed is one seed."""
    found = {(gain.run_id, gain.against): gain for gain in gains}
    plain = found.get((arms["given"], arms["none"]))
    sham = found.get((arms["given"], arms["sham"]))
    if plain is None or sham is None or plain.low is None or sham.low is None:
        return ""
    seed = " These are the figures of one seed."
    if plain.low > 0 and sham.low > 0:
        return "The verdicts helped: better than no labels and better than as many random ones." + seed
    if plain.high is not None and plain.high < 0:
        return "The verdicts did harm here: worse than no labels." + seed
    if plain.low > 0:
        return (
            "Better than no labels, but not to be told from as many random labels: the gain may come from labels"
            " as such, not from what was judged." + seed
        )
    return (
        "Whether the verdicts help cannot be told here: zero lies inside the interval. That is no proof that they"
        " do not; more held-out queries, verdicts or seeds make it narrower." + seed
    )


def _notes(runs: Sequence[Run], tables: dict[int, dict[Candidate, str]]) -> list[str]:
    notes = []
    if len({run.data_set_id for run in runs}) > 1:
        notes.append("These runs measured on different data sets; their metrics do not compare.")
    if len({run.snapshot_id for run in runs}) > 1:
        notes.append(
            "The verdicts changed between these runs, those on held-out items too: a match that was found later"
            " is one more truth, so part of a difference may be the yardstick's."
        )
    return notes
