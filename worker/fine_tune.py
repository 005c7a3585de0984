"""A run: the frozen snapshot and configuration through `clipcore.fine_tune`, its events into the database.

What clipcore writes lies in the run's folder; each checkpoint also goes to the media store, so that another worker
can take the run over.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.actions.add_model import add_model
from app.actions.make_labels import make_labels, written_captions
from app.jobs import lease
from app.media.snapshots import get_table
from app.media.store import MediaStore
from app.report.report_of_run import report_of_run
from app.store.database import Database, after_commit
from app.store.insert import insert_missing
from app.store.models import Image, Job, Model, Preview, Probe, Run, Snapshot
from clipcore.config import FineTuneConfig
from clipcore.data import FineTuneData, items
from clipcore.distributed import start
from clipcore.errors import LossNotFinite
from clipcore.events import (
    BatchSeen,
    EpochDone,
    Evaluated,
    Finished,
    Preparing,
    Previewed,
    Saved,
    SimilaritiesSeen,
    Started,
    StepDone,
    Swept,
)
from clipcore.events import Event as TrainingEvent
from clipcore.events import Probe as WatchedQuery
from clipcore.example import Example
from clipcore.finetune import fine_tune
from clipcore.labels import PairLabels
from clipcore.learner import Embeddings
from worker.checkpoints import fetch_checkpoints, forget_checkpoints, keep_checkpoint
from worker.context import JobContext, Stopped
from worker.embed import Results, Vectors, image_source, vectors_of
from worker.models import model_config
from worker.run_folder import RunFolder
from worker.took import Took, peak_memory_bytes


@dataclass(frozen=True)
class Work:
    """Everything a run needs, loaded once."""

    run: Run
    model: Model
    snapshot: Snapshot
    config: FineTuneConfig
    data: FineTuneData
    labels: PairLabels
    held_out_labels: PairLabels
    probes: list[WatchedQuery]
    folder: Path


def run_fine_tune(context: JobContext, job: Job) -> Results:
    """Trains, or goes on from the last checkpoint; raises Stopped when a person or the worker's end asks."""
    work = _load(context, job)
    fetch_checkpoints(context.media, work.run.id, work.folder / "checkpoints")
    described = _described(work.snapshot)
    notes = RunFolder(work.folder, config_yaml=work.run.config_yaml, snapshot=described, name=work.run.name)
    embeddings = _embeddings(context, work) if work.config.model.train == "adapter" else None
    context.check()
    start()  # with several processes: here the others meet this one
    finished: Finished | None = None
    metrics: dict[str, float] = {}
    took = Took()
    for event in _events(context, work, embeddings, stop=context.asked):
        notes.take(event)
        _report(context, work, event)
        took.see(event)
        if not took.steps:  # nothing to lose yet, so it need not wait for a step's end
            context.check()
        if isinstance(event, Evaluated) and event.when == "after":
            metrics = event.metrics
        if isinstance(event, Finished):
            finished = event
    if finished is None or finished.checkpoint is None:
        raise Stopped(finished.stopped if finished else "stop")
    key = context.media.put_folder(finished.checkpoint, kind="checkpoints")
    return lambda session: _write_results(session, work, key, metrics, took, notes)


def train_beside(context: JobContext, job: Job) -> None:
    """The work of every process but the first: the same training, without a word."""
    work = _load(context, job)
    embeddings = _embeddings(context, work) if work.config.model.train == "adapter" else None
    for _ in _events(context, work, embeddings, stop=lambda: None):
        pass


def _events(
    context: JobContext, work: Work, embeddings: Embeddings | None, *, stop: Callable[[], str | None]
) -> Iterator[TrainingEvent]:
    try:
        yield from fine_tune(
            work.config,
            work.data,
            work.labels,
            held_out_labels=work.held_out_labels,
            folder=work.folder,
            embeddings=embeddings,
            probes=work.probes,
            stop=stop,
        )
    except LossNotFinite as error:
        ids = ", ".join(f"{image} × {caption}" for image, caption in error.pairs)
        context.report("log", {"text": f"the batch whose loss was not finite (image × caption ids): {ids}"})
        raise


def _load(context: JobContext, job: Job) -> Work:
    with context.database.reading() as session:
        run = session.scalars(select(Run).where(Run.job_id == job.id)).one()
        return work_of_run(context, session, run)


def work_of_run(context: JobContext, session: Session, run: Run) -> Work:
    """What `run` (a row, or one that is never written) trains on; what was erased since its snapshot is left out."""
    model = session.scalars(select(Model).where(Model.id == run.model_id)).one()
    snapshot = session.scalars(select(Snapshot).where(Snapshot.id == run.snapshot_id)).one()
    watched = select(Probe).where(Probe.data_set_id == run.data_set_id).order_by(Probe.id)
    probes = session.scalars(watched).all()
    gone = select(Image.id).where(Image.data_set_id == run.data_set_id, Image.erased_at.is_not(None))
    erased = set(session.scalars(gone))
    config = FineTuneConfig.from_yaml(run.config_yaml)
    where = model_config(context.settings, model)
    config = replace(
        config,
        model=replace(config.model, name=where.name, pretrained=where.pretrained),
        device=context.settings.device if config.device == "auto" else config.device,
    )
    pairs = _without_erased(get_table(context.media, snapshot.pairs_key).to_pydict(), erased)
    verdicts = get_table(context.media, snapshot.verdicts_key).to_pydict()
    return Work(
        run=run,
        model=model,
        snapshot=snapshot,
        config=config,
        data=_data(context, pairs, written_captions(verdicts)),
        labels=make_labels(pairs, verdicts, config=config.labels),
        held_out_labels=make_labels(pairs, verdicts, config=config.labels, split="held_out"),
        probes=[_watched(probe) for probe in probes],
        folder=context.settings.home.resolve() / "runs" / f"run-{run.id}",
    )


def _without_erased(pairs: dict[str, list[Any]], image_ids: set[int]) -> dict[str, list[Any]]:
    """What was erased since the snapshot is not trained on, though it stands there by its ids and hashes."""
    stays = [
        text is not None and image not in image_ids
        for image, text in zip(pairs["image_id"], pairs["caption"], strict=True)
    ]
    return {name: [v for v, kept in zip(column, stays) if kept] for name, column in pairs.items()}


def _data(context: JobContext, pairs: dict[str, list[Any]], written: dict[str, str]) -> FineTuneData:
    columns = ("image_id", "caption_id", "image_sha256", "caption", "split")
    examples = [
        Example(str(image), str(caption_id), image_source(context.media, sha256), text, split)
        for image, caption_id, sha256, text, split in zip(*(pairs[name] for name in columns), strict=True)
    ]
    return FineTuneData(
        train=[x for x in examples if x.split == "train"],
        held_out=[x for x in examples if x.split == "held_out"],
        extra_captions=written,
    )


def _watched(probe: Probe) -> WatchedQuery:
    image_id = None if probe.image_id is None else str(probe.image_id)
    return WatchedQuery(id=str(probe.id), text=probe.text, image_id=image_id)


def _embeddings(context: JobContext, work: Work) -> Embeddings:
    """The data set's kept vectors in the order of clipcore's items; mining usually has computed them already."""
    return in_order(work, vectors_of(context, work.run.data_set_id, work.model))


def in_order(work: Work, vectors: Vectors) -> Embeddings:
    """As clipcore takes them."""
    import torch

    order = items(work.data)
    image_at = {str(id_): place for place, id_ in enumerate(vectors.image_ids_I.tolist())}
    caption_at = {str(id_): place for place, id_ in enumerate(vectors.caption_ids_C.tolist())}
    return Embeddings(
        torch.from_numpy(vectors.image_ID[[image_at[i] for i in order.image_ids]].astype("float32")),
        torch.from_numpy(vectors.caption_CD[[caption_at[c] for c in order.caption_ids]].astype("float32")),
    )


def _described(snapshot: Snapshot) -> dict[str, Any]:
    return {
        "hash": snapshot.hash,
        "counts": snapshot.counts,
        "pairs_key": snapshot.pairs_key,
        "verdicts_key": snapshot.verdicts_key,
    }


def _report(context: JobContext, work: Work, event: TrainingEvent) -> None:
    """One training event as progress, event rows and results."""
    if isinstance(event, Started):
        for remark in event.remarks:
            context.report("log", {"text": remark})
        if event.resumed_from:
            context.report("log", {"text": f"resumed from step {event.resumed_from}"}, event.resumed_from)
    elif isinstance(event, Preparing):
        context.progress(event.done, event.total, "items")
    elif isinstance(event, StepDone):
        rate = event.pairs_per_s / work.config.batch.size
        context.progress(event.step, event.total_steps, "step", rate)
        context.report("step", _step_body(event), event.step)
    elif isinstance(event, Evaluated):
        body = {"when": event.when, "metrics": _finite(event.metrics), "histograms": event.histograms}
        if event.queries is not None:
            data = json.dumps(asdict(event.queries)).encode()
            body["queries_key"] = context.media.put(data, kind="evaluations", suffix=".json")
        context.report("evaluated", body, event.step)
        if event.when == "before":
            values = {"metrics_before": _finite(event.metrics)}
            context.write(lambda s: s.execute(update(Run).where(Run.id == work.run.id).values(values)))
    elif isinstance(event, SimilaritiesSeen):
        context.report("similarities", {"histograms": event.histograms}, event.step)
    elif isinstance(event, BatchSeen):
        context.report("batch", asdict(event), event.step)
    elif isinstance(event, EpochDone):
        context.report("epoch", {"epoch": event.epoch, "coverage": round(event.coverage, 4)})
    elif isinstance(event, Swept):
        mixes = [{"share": m.share, "metrics": _finite(m.metrics)} for m in event.mixes]
        context.report("swept", {"mixes": mixes, "recommended": event.recommended}, event.step)
    elif isinstance(event, Previewed):
        row = {
            "run_id": work.run.id,
            "probe_id": int(event.probe_id),
            "step": event.step,
            "result_ids": [int(id_) for id_ in event.result_ids],
            "scores": event.scores,
        }
        context.write(lambda s: insert_missing(s, Preview, [row], key=["run_id", "probe_id", "step"]))
    elif isinstance(event, Saved):
        key = keep_checkpoint(context.media, work.run.id, event.path)
        context.report("saved", {"key": key}, event.step)
        context.write(lambda s: lease.saved(s, work.run.job_id, token=context.token))


def _step_body(event: StepDone) -> dict[str, Any]:
    """A point is [step, loss, learning rate, logit scale, pairs a second, the loss's parts where there are several]."""
    point: list[Any] = [
        event.step,
        round(event.loss, 5),
        event.lr,
        round(event.logit_scale, 3),
        round(event.pairs_per_s, 1),
    ]
    if len(event.parts) > 1:
        point.append({name: round(value, 5) for name, value in event.parts.items()})
    return {
        "points": [point],
        "loss": event.loss,
        "parts": event.parts,
        "lr": event.lr,
        "logit_scale": event.logit_scale,
        "examples_per_s": round(event.pairs_per_s, 1),
        "memory_bytes": peak_memory_bytes(),
        "eta_s": round(event.eta_s, 1),
        "epoch": event.epoch,
    }


def _finite(metrics: dict[str, float]) -> dict[str, float | None]:
    """JSON has no nan."""
    return {name: value if value == value else None for name, value in metrics.items()}


def _write_results(
    session: Session, work: Work, key: str, metrics: dict[str, float], took: Took, notes: RunFolder
) -> None:
    model = add_model(
        session,
        name=f"{work.run.name} (from {work.model.name})"[:200],
        location=f"media:{key}",
        licence=work.model.licence,
        run_id=work.run.id,
        parent_id=work.model.id,
    )
    values = {
        "metrics_after": _finite(metrics),
        "result_model_id": model.id,
        "checkpoint_key": key,
        "preflight": work.run.preflight | {"took": took.as_dict()},
    }
    session.execute(update(Run).where(Run.id == work.run.id).values(values))
    after_commit(session, lambda database: _clear(database, work, notes))


def _clear(database: Database, work: Work, notes: RunFolder) -> None:
    """The result is kept, so that nothing is resumed any more; the report is written beside it."""
    notes.log("the result is kept")
    forget_checkpoints(MediaStore(database.settings.resolved_media_url), work.run.id)
    shutil.rmtree(work.folder / "checkpoints", ignore_errors=True)
    with database.reading() as session:
        report = report_of_run(session, run_id=work.run.id)
    (work.folder / "report.html").write_text(report, encoding="utf-8")
