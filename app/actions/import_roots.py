"""Which folders of the server page and API may read."""

from pathlib import Path

from sqlalchemy.orm import Session

from app.actions.accounts import anybody
from app.errors import NearmissError
from app.store.database import settings_of

UNSET = (
    "nobody has said which folders of this server may be read, and with accounts that must be said: set"
    " NEARMISS_IMPORT_ROOTS, upload the files, or run `nearmiss import` on the server"
)


def import_roots(session: Session) -> list[Path]:
    """The folders of NEARMISS_IMPORT_ROOTS; without them the whole machine for the single local user.

    Raises NearmissError where none is set and there are accounts: an admin of Nearmiss would read every file that
    the server's user can.
    """
    roots = settings_of(session).named_roots
    if not roots and anybody(session):
        raise NearmissError(UNSET)
    return roots or [Path("/")]
