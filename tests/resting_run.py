"""A data set with one run that no worker has: what an event stream can be watched on."""

from sqlalchemy.orm import Session

from app.store.models import DataSet, Job, Model, Run, Snapshot


def add_resting_run(session: Session) -> None:
    """Data set 1, model 1, and run 1 of job 1, paused."""
    for row in (
        DataSet(id=1, name="small", source="demo"),
        Job(id=1, kind="fine_tune", queue="gpu", data_set_id=1, state="paused"),
        Model(id=1, name="tiny", location="local-dir:tiny"),
        Snapshot(id=1, data_set_id=1, hash="0" * 64, pairs_key="", verdicts_key="", counts={}),
        Run(id=1, job_id=1, data_set_id=1, snapshot_id=1, model_id=1, name="slow", config_yaml=""),
    ):
        session.add(row)
        session.flush()
