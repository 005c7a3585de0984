"""What a route needs of its server: a transaction, a reading session, the person."""

from collections.abc import Iterator
from typing import Annotated

from fastapi import Depends, Request
from sqlalchemy.orm import Session

from app.settings import Settings


def _settings(request: Request) -> Settings:
    settings: Settings = request.app.state.settings
    return settings


def _reading(request: Request) -> Iterator[Session]:
    with request.app.state.database.reading() as session:
        yield session


def _writing(request: Request) -> Iterator[Session]:
    with request.app.state.database.transaction() as session:
        yield session


Deployment = Annotated[Settings, Depends(_settings)]
Reading = Annotated[Session, Depends(_reading, scope="function")]
Writing = Annotated[Session, Depends(_writing, scope="function")]  # committed before the answer leaves
