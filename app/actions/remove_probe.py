"""Stop watching a query; what earlier runs showed of it goes with it."""

from sqlalchemy import delete
from sqlalchemy.orm import Session

from app.errors import NotFound
from app.store.models import Preview, Probe


def remove_probe(session: Session, *, data_set_id: int, probe_id: int) -> None:
    """Raises NotFound."""
    probe = session.get(Probe, probe_id)
    if probe is None or probe.data_set_id != data_set_id:
        raise NotFound(f"there is no probe {probe_id} in data set {data_set_id}; reload the page")
    session.execute(delete(Preview).where(Preview.probe_id == probe_id))
    session.delete(probe)
    session.flush()
