"""What every route needs: the database, and who asks."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.store.database import Database

MAX_ID = 2**63 - 1


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _person(request: Request) -> str:
    """Whom the door let in."""
    name: str = request.state.who.name
    return name


Db = Annotated[Database, Depends(_database)]
Person = Annotated[str, Depends(_person)]
Id = Annotated[int, Path(ge=1, le=MAX_ID)]
