"""Send a run's checkpoint to the Hugging Face hub; a worker does it."""

import os
import re

from sqlalchemy.orm import Session

from app.actions.rights import Forbidden, Who
from app.errors import NearmissError
from app.jobs.enqueue import enqueue
from app.settings import Settings
from app.store.database import settings_of
from app.store.models import Job
from app.store.reads.runs import get_run

REPOSITORY = re.compile(r"[\w.-]{1,96}/[\w.-]{1,96}", re.ASCII)


def start_push(
    session: Session, *, run_id: int, repository: str, private: bool = True, person: str = ""
) -> Job:
    """The queued job. Raises NotFound, and NearmissError without a checkpoint, a token or a usable name."""
    run, job = get_run(session, run_id)
    if not run.checkpoint_key:
        raise NearmissError(f"run {run_id} has no checkpoint to push: it is {job.state}")
    if not REPOSITORY.fullmatch(repository):
        raise NearmissError(f"{repository!r} is no repository of the hub; write ORGANISATION/NAME")
    if not has_hub_token(settings_of(session)):
        raise NearmissError("no hub token is set; start Nearmiss with NEARMISS_HUB_TOKEN, or HF_TOKEN")
    request = {"run_id": run_id, "repository": repository, "private": private}
    return enqueue(session, kind="push", data_set_id=run.data_set_id, request=request, person=person)


def has_hub_token(settings: Settings) -> bool:
    """Whether pushing could work; the token itself is told to nobody."""
    return bool(settings.hub_token.get_secret_value() or os.environ.get("HF_TOKEN"))


def may_push(who: Who, settings: Settings) -> bool:
    """The token is the server's: its admins may use it, those of a data set where the server's admin allows it."""
    return settings.hub_data_set_admins or who.role_on(None) == "admin"


def demand_push(who: Who, settings: Settings) -> None:
    """Raises Forbidden, for one who is an admin of the data set but not of the server."""
    if not may_push(who, settings):
        raise Forbidden(
            "pushing uses the server's hub token, so it needs the role admin on this server; ask its admin to push,"
            " or to set NEARMISS_HUB_DATA_SET_ADMINS=true, or download the checkpoint and push it with your own token"
        )
