"""For launchers and supervisors: does the process live, and can it serve?"""

from fastapi import APIRouter
from sqlalchemy import text

from app.api.access import OPEN, Db
from app.store.schema import check

router = APIRouter(dependencies=[OPEN])


@router.get("/healthz")
async def alive() -> dict[str, str]:
    """The process answers."""
    return {"state": "alive"}


@router.get("/readyz")
def ready(database: Db) -> dict[str, str]:
    """The database answers and has the tables that this program knows; else 4xx or 503 with a sentence."""
    check(database.engine)
    with database.reading() as session:
        session.execute(text("select 1"))
    return {"state": "ready"}
