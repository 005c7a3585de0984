"""`nearmiss finetune run.yaml`: a run without queue and page, on the same snapshot to the same weights.

The YAML is the page's. The data is the snapshot named beside it (a run's folder has snapshot.json), by `--snapshot`, or
the present state of `--data-set`. Ctrl+C or SIGTERM saves a checkpoint and stops; the same command goes on from there.
"""

import argparse
import json
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.plan_run import plan_run
from app.actions.take_snapshot import take_snapshot
from app.errors import NearmissError
from app.settings import Settings, get_settings
from app.store.models import DataSet, Model, Run, Snapshot
from clipcore.config import FineTuneConfig
from clipcore.errors import ClipcoreError
from clipcore.events import Evaluated, Finished, Started, StepDone
from clipcore.finetune import fine_tune
from worker.context import JobContext
from worker.embed import kept_vectors
from worker.fine_tune import Work, in_order, work_of_run


def main(arguments: list[str] | None = None, *, settings: Settings | None = None) -> int:
    """The exit code: 0 finished or saved on request, 2 refused with a sentence."""
    parser = argparse.ArgumentParser(prog="nearmiss finetune", description=__doc__)
    parser.add_argument("config", type=Path, help="the run's YAML")
    parser.add_argument("--data-set", help="its present pairs and verdicts, by the data set's name")
    parser.add_argument("--snapshot", help="the first characters of a snapshot's hash")
    parser.add_argument("--out", type=Path, default=Path("run"), help="folder of checkpoints and result")
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and stop")
    given = parser.parse_args(arguments)
    context = JobContext(settings or get_settings(), 0, 0)  # never started: no row is held
    signal.signal(signal.SIGINT, context.stop)  # as SIGTERM
    try:
        return _run(context, given)
    except (NearmissError, ClipcoreError, OSError) as error:
        print(f"nearmiss: {error}", file=sys.stderr)
        return 2
    finally:
        context.database.close()


def _run(context: JobContext, given: argparse.Namespace) -> int:
    config_yaml = given.config.read_text(encoding="utf-8")
    with context.database.transaction() as session:
        snapshot = _snapshot(session, given)
        model = _model(session, config_yaml)
        if given.dry_run:
            plan = plan_run(
                session,
                data_set_id=snapshot.data_set_id,
                model_id=model.id,
                config_yaml=config_yaml,
                snapshot_id=snapshot.id,
            )
            for name, value in asdict(plan.preflight).items():
                print(f"{name}: {value}")
            return 2 if plan.preflight.refusals else 0
        run = Run(
            id=0,
            data_set_id=snapshot.data_set_id,
            snapshot_id=snapshot.id,
            model_id=model.id,
            config_yaml=config_yaml,
        )
        work = replace(work_of_run(context, session, run), folder=given.out)
    _train(context, work)
    return 0


def _snapshot(session: Session, given: argparse.Namespace) -> Snapshot:
    beside = given.config.parent / "snapshot.json"
    wanted = given.snapshot
    if not wanted and not given.data_set and beside.is_file():
        wanted = json.loads(beside.read_text(encoding="utf-8"))["hash"]
    if wanted:
        found = session.scalars(select(Snapshot).where(Snapshot.hash.startswith(wanted)).limit(2)).all()
        if len(found) != 1:
            raise NearmissError(f"{len(found) or 'no'} snapshots begin with {wanted!r}; name one hash")
        return found[0]
    if not given.data_set:
        raise NearmissError("no data: name a --data-set, a --snapshot, or --pairs of a file")
    data_set_id = session.scalar(select(DataSet.id).where(DataSet.name == given.data_set))
    if data_set_id is None:
        raise NearmissError(f"there is no data set {given.data_set!r}")
    return take_snapshot(session, data_set_id=data_set_id)


def _model(session: Session, config_yaml: str) -> Model:
    config = FineTuneConfig.from_yaml(config_yaml).model
    query = select(Model).where(Model.location == config.name, Model.pretrained == config.pretrained)
    model = session.scalars(query.order_by(Model.id)).first()
    if model is None:
        raise NearmissError(f"there is no model {config.name!r} here; add it with `nearmiss add-model`")
    return model


def _train(context: JobContext, work: Work) -> None:
    embeddings = None
    if work.config.model.train == "adapter":
        kept = kept_vectors(context, work.run.data_set_id, work.model)
        embeddings = None if kept is None else in_order(work, kept)
    for event in fine_tune(
        work.config,
        work.data,
        work.labels,
        held_out_labels=work.held_out_labels,
        folder=work.folder,
        embeddings=embeddings,
        probes=work.probes,
        stop=context.asked,
    ):
        if isinstance(event, Started):
            print(f"started at step {event.resumed_from} of {event.total_steps}", flush=True)
            for remark in event.remarks:
                print(remark)
        elif isinstance(event, StepDone):
            end = "\n" if event.step == event.total_steps else "\r"
            print(f"step {event.step}/{event.total_steps}  loss {event.loss:.4f}   ", end=end, flush=True)
        elif isinstance(event, Evaluated):
            told = "  ".join(f"{name} {value:.3f}" for name, value in event.metrics.items() if value == value)
            print(f"{event.when}: {told}")
        elif isinstance(event, Finished) and event.stopped:
            print(f"\nstopped at step {event.step}; the same command goes on from {work.folder}")
        elif isinstance(event, Finished):
            print(f"open_clip loads the result by local-dir:{event.checkpoint}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
