"""`nearmiss invite`, `token` and `set-password`: what an admin does who sits at the server."""

import typer
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions import accounts
from app.actions.credentials import make_token, who_is
from app.actions.invitations import invite
from app.actions.rights import Role
from app.errors import NotFound
from app.settings import get_settings
from app.store.database import Database
from app.store.models import PersonRow

BY = "the command line"


def run_invite(role: str, data_set_id: int | None) -> None:
    """Prints the link. Raises NearmissError."""
    settings = get_settings()
    with Database(settings).transaction() as session:
        secret = invite(session, role=_role(role), data_set_id=data_set_id, by=BY)
    name = next(iter(settings.hosts.split()), "")
    typer.echo(f"https://{name}/join/{secret}" if name else f"http://127.0.0.1:{settings.port}/join/{secret}")


def run_token(person: str, *, role: str, days: int, data_set_id: int | None, name: str) -> None:
    """Prints the token. Raises NearmissError."""
    with Database(get_settings()).transaction() as session:
        who = who_is(session, _person(session, person))
        typer.echo(make_token(session, who, name=name, cap=_role(role), days=days, data_set_id=data_set_id))


def run_set_password(person: str, password: str) -> None:
    """Raises NearmissError."""
    with Database(get_settings()).transaction() as session:
        accounts.set_password(session, person_id=_person(session, person).id, password=password, by=BY)


def _person(session: Session, name: str) -> PersonRow:
    person = session.scalar(select(PersonRow).where(PersonRow.name == name))
    if person is None:
        raise NotFound(f"nobody is called {name!r}; see the names in the page's People tab")
    return person


def _role(role: str) -> Role:
    accounts.check_role(role)
    return role  # type: ignore[return-value]  # checked
