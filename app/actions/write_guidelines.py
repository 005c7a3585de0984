"""Write a new version of a data set's guidelines; the older ones stay."""

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from app.errors import Conflict
from app.store.models import Guidelines
from app.store.reads.data_sets import get_data_set
from app.store.text import clean

MAX_CHARACTERS = 20_000


def write_guidelines(session: Session, data_set_id: int, *, text: str, after: int, person: str) -> Guidelines:
    """The new version. `after` is the id of the version that was edited, 0 for none.

    Raises NotFound; Conflict where somebody else wrote a version meanwhile; NearmissError for what is no text or too long.
    """
    get_data_set(session, data_set_id)
    cleaned = clean(text, what="guidelines", limit=MAX_CHARACTERS)
    latest = session.scalar(select(func.max(Guidelines.id)).where(Guidelines.data_set_id == data_set_id)) or 0
    if latest != after:
        raise Conflict("somebody wrote a newer version of the guidelines; open them again and add yours")
    version = Guidelines(data_set_id=data_set_id, text=cleaned, person=person)
    session.add(version)
    session.flush()
    return version
