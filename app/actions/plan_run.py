"""What a run would do, before it is started: the frozen configuration and the counts shown at the button."""

from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.advise import advise
from app.actions.code_of_run import code_of_run
from app.actions.data_set_quota import over_quota
from app.actions.make_labels import Columns, make_labels
from app.actions.take_snapshot import pair_columns, verdict_columns
from app.actions.tower_name import portable_name
from app.errors import NearmissError, NotFound
from app.jobs.presence import num_connected
from app.jobs.waiting import no_worker
from app.media.snapshots import get_table
from app.media.store import MediaStore
from app.store.database import settings_of
from app.store.models import DataSet, Event, Job, Model, Run, Snapshot
from clipcore.arms import labels_of_arm
from clipcore.config import FineTuneConfig
from clipcore.config import preset as preset_config
from clipcore.errors import ClipcoreError
from clipcore.preflight import Preflight, preflight

MAX_PROCESSES = 64


@dataclass(frozen=True)
class Plan:
    """A configuration, what clipcore says about it, and what the queue says."""

    config: FineTuneConfig
    preflight: Preflight
    measured: "Measured"
    waiting: str | None  # why it would not begin at once
    num_verdicts: int  # that stand in the data set
    num_heard: int  # of them on items of the training split; the others measure
    code: str  # the same as a program on clipcore alone

    def report(self) -> dict[str, Any]:
        """The plain form that is kept on the run and sent to the page."""
        queue = asdict(self.measured) | {"waiting": self.waiting, "arm": self.config.labels.use}
        queue |= {"num_verdicts": self.num_verdicts, "num_heard": self.num_heard}
        return asdict(self.preflight) | queue | {"config_yaml": self.config.to_yaml(), "code": self.code}


@dataclass(frozen=True)
class Measured:
    """What the last finished run of the same kind on the same model took; None where there was none.

    `seconds` is scaled to this plan's steps; `memory_bytes` is the peak of the same micro-batch, device or process.
    With a `memory_limit_bytes` both come from steps that a worker took on purpose (`start_measuring`).
    """

    seconds: float | None = None
    memory_bytes: int | None = None
    measured_in_run: int | None = None
    memory_limit_bytes: int | None = None
    does_not_fit: bool = False


def plan_run(
    session: Session,
    *,
    data_set_id: int,
    model_id: int,
    preset: str = "",
    overrides: dict[str, Any] | None = None,
    config_yaml: str | None = None,
    snapshot_id: int | None = None,
    processes: int = 1,
) -> Plan:
    """The plan under the present verdicts, or those of a snapshot. `config_yaml`, when given, takes the place of preset
    and overrides.

    Raises NotFound, and NearmissError for a setting that does not exist.
    """
    if not 1 <= processes <= MAX_PROCESSES:
        raise NearmissError(f"a run takes 1 to {MAX_PROCESSES} processes, not {processes}")
    if session.get(DataSet, data_set_id) is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    model = session.get(Model, model_id)
    if model is None:
        raise NotFound(f"there is no model {model_id}; choose one of the list")
    overrides = overrides or {}
    pairs, verdicts = _columns(session, data_set_id, snapshot_id)
    try:
        config = _config(model, preset, overrides, config_yaml)
        given = make_labels(pairs, verdicts, config=config.labels)
        labels = labels_of_arm(given, config.labels.use, seed=config.seed)
        train = list(labels.pairs)
        chosen = config_yaml is not None or "size" in overrides.get("batch", {})
        fitted = config if chosen else _fit_batch(config, len(train) - len(labels.broken))
        report = preflight(fitted, train, labels, num_ranks=processes)
    except ClipcoreError as error:
        raise NearmissError(str(error)) from None
    report = replace(report, warnings=[*report.warnings, *advise(model, fitted)])
    measured = _measured(session, model_id, fitted, report.steps)
    if measured.does_not_fit:
        report = replace(report, refusals=[*report.refusals, _does_not_fit(measured, fitted)])
    if full := over_quota(session, data_set_id):
        report = replace(report, refusals=[*report.refusals, full])
    portable = replace(fitted.model, name=portable_name(model.location, model.run_id))
    return Plan(
        config=fitted,
        preflight=_say_fitted(report, config, fitted),
        measured=measured,
        waiting=None if num_connected(session, "gpu") else no_worker("gpu"),
        num_verdicts=len(verdicts["answer"]),
        num_heard=len(given.labels),
        code=code_of_run(replace(fitted, model=portable)),
    )


def _columns(session: Session, data_set_id: int, snapshot_id: int | None) -> tuple[Columns, Columns]:
    """Pairs and verdicts as they are now, or as they were frozen."""
    if snapshot_id is None:
        return pair_columns(session, data_set_id), verdict_columns(session, data_set_id)
    snapshot = session.get(Snapshot, snapshot_id)
    if snapshot is None or snapshot.data_set_id != data_set_id:
        raise NotFound(f"there is no snapshot {snapshot_id} of this data set; reload the page")
    media = MediaStore(settings_of(session).resolved_media_url)
    return (
        get_table(media, snapshot.pairs_key).to_pydict(),
        get_table(media, snapshot.verdicts_key).to_pydict(),
    )


def _config(model: Model, preset: str, overrides: dict[str, Any], config_yaml: str | None) -> FineTuneConfig:
    if config_yaml is not None:
        config = FineTuneConfig.from_yaml(config_yaml)
    else:
        config = preset_config(preset or "adapter").with_values(overrides)
    return config.with_values({"model": {"name": model.location, "pretrained": model.pretrained}})


def _fit_batch(config: FineTuneConfig, num_pairs: int) -> FineTuneConfig:
    """A preset's batch shrinks to a small data set; one that a person chose is left to the preflight."""
    if not 2 <= num_pairs < config.batch.size:
        return config
    return replace(config, batch=replace(config.batch, size=num_pairs))


def _say_fitted(report: Preflight, config: FineTuneConfig, fitted: FineTuneConfig) -> Preflight:
    if fitted == config:
        return report
    said = f"The preset's batch of {config.batch.size} is reduced to the {fitted.batch.size} pairs there are."
    return replace(report, warnings=[*report.warnings, said])


def _does_not_fit(measured: Measured, config: FineTuneConfig) -> str:
    smaller = min(config.batch.micro_batch, config.batch.size) // 2
    limit = f"{(measured.memory_limit_bytes or 0) / 1e9:.1f} GB"
    remedy = f"batch.micro_batch {smaller}" if smaller else "a smaller model"
    if config.batch.num_resident:
        remedy += " and batch.num_resident 0"
    return (
        f"A step was measured and does not fit into the worker's {limit}: choose {remedy},"
        " which changes nothing in the result but its speed, or measure again."
    )


def _measured(session: Session, model_id: int, config: FineTuneConfig, steps: int) -> Measured:
    """By steps that were taken to measure, else by a run."""
    by_run = _measured_by_run(session, model_id, config, steps)
    taken = (
        select(Job.request, Event.body)
        .join(Event, Event.job_id == Job.id)
        .where(Job.kind == "measure", Job.state == "finished", Event.kind == "measured")
        .order_by(Job.id.desc())
        .limit(20)
    )
    for request, body in session.execute(taken):
        before = FineTuneConfig.from_yaml(request["config_yaml"])
        if request["model_id"] == model_id and _alike(before, config) and before.labels == config.labels:
            return replace(
                by_run,
                seconds=by_run.seconds or (body["step_s"] * steps if body["step_s"] else None),
                memory_bytes=body["memory_bytes"],
                memory_limit_bytes=body["limit_bytes"],
                does_not_fit=not body["fits"],
            )
    return by_run


def _measured_by_run(session: Session, model_id: int, config: FineTuneConfig, steps: int) -> Measured:
    finished = (
        select(Run, Job.started_at, Job.finished_at)
        .join(Job, Run.job_id == Job.id)
        .where(Run.model_id == model_id, Job.state == "finished")
        .order_by(Run.id.desc())
        .limit(20)
    )
    for run, started_at, finished_at in session.execute(finished):
        before = FineTuneConfig.from_yaml(run.config_yaml)
        took = run.preflight.get("took")
        if not took or not _alike(before, config) or started_at is None or finished_at is None:
            continue
        whole = (finished_at - started_at).total_seconds()
        training = min(took["training_s"], whole)
        return Measured(
            seconds=whole - training + training * steps / max(took["steps"], 1),
            memory_bytes=took.get("memory_bytes"),
            measured_in_run=run.id,
        )
    return Measured()


def _alike(before: FineTuneConfig, now: FineTuneConfig) -> bool:
    """Whether a step of one costs what a step of the other costs."""
    return (before.model.train, before.batch, before.precision) == (now.model.train, now.batch, now.precision)
