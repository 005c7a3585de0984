"""How a data set is judged by several people: the share asked twice, and the share of controls."""

from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.models import DataSet
from app.store.reads.data_sets import get_data_set

MAX_CONTROLS = 0.2


def set_desk(
    session: Session, data_set_id: int, *, overlap: float | None = None, control_share: float | None = None
) -> DataSet:
    """Changes what is given, for verdicts from now on. Raises NotFound, NearmissError for a share out of range."""
    data_set = get_data_set(session, data_set_id)
    if overlap is not None:
        if not 0.0 <= overlap <= 1.0:
            raise NearmissError(f"the overlap is {overlap}; give a share from 0 to 1")
        data_set.overlap = overlap
    if control_share is not None:
        if not 0.0 <= control_share <= MAX_CONTROLS:
            raise NearmissError(
                f"the share of controls is {control_share}; give one from 0 to {MAX_CONTROLS}"
            )
        data_set.control_share = control_share
    session.flush()
    return data_set
