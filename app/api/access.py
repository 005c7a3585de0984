"""What every route needs: the database, and who asks."""

from typing import Annotated

from fastapi import Depends, Path, Request

from app.store.database import Database

MAX_ID = 2**63 - 1


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _person(request: Request) -> str:
    """The single local user; sessions of several people come with the log-in."""
    database: Database = request.app.state.database
    return database.settings.person


Db = Annotated[Database, Depends(_database)]
Person = Annotated[str, Depends(_person)]
Id = Annotated[int, Path(ge=1, le=MAX_ID)]
