"""Start the arms of a controlled comparison: the same run without labels, with sham labels, and with the verdicts."""

import uuid
from typing import Any

from sqlalchemy.orm import Session

from app.actions.start_run import start_run
from app.errors import NearmissError
from app.store.models import Run
from clipcore.config import FineTuneConfig, Use
from clipcore.errors import ClipcoreError

ARMS: dict[Use, str] = {"none": "plain", "sham": "sham labels", "given": "your verdicts"}


def start_comparison(session: Session, *, name: str = "", request_key: str, **wish: Any) -> list[Run]:
    """The queued runs, one an arm, alike in all but `labels.use`; the same `request_key` answers the first ones.

    Raises what `start_run` raises, and NearmissError while there is no verdict: the arms would be one run thrice.
    """
    experiment = str(uuid.uuid5(uuid.NAMESPACE_OID, request_key))
    runs = []
    for use, words in ARMS.items():
        run = start_run(
            session,
            name=f"{name or wish.get('preset') or 'custom'} · {words}",
            request_key=f"{request_key[:50]}:{use}",
            experiment=experiment,
            **(wish | _arm(wish, use)),
        )
        runs.append(run)
    if not any(runs[-1].preflight["labels"].values()):
        raise NearmissError(
            "no verdict reaches the training split yet, so the arms would not differ; curate first"
        )
    return runs


def _arm(wish: dict[str, Any], use: Use) -> dict[str, Any]:
    if wish.get("config_yaml"):
        try:
            config = FineTuneConfig.from_yaml(wish["config_yaml"]).with_values({"labels": {"use": use}})
        except ClipcoreError as error:
            raise NearmissError(str(error)) from None
        return {"config_yaml": config.to_yaml()}
    overrides = dict(wish.get("overrides") or {})
    return {"overrides": overrides | {"labels": dict(overrides.get("labels") or {}) | {"use": use}}}
