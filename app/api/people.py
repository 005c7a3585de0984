"""People: oneself (password, tokens), and what admins do: accounts, roles, access, invitations, the audit log."""

from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field
from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions import accounts
from app.actions.credentials import make_token, revoke, tokens_of
from app.actions.invitations import invite
from app.actions.rights import Role
from app.api.access import ANYBODY, ASKS_ITSELF, DATA_SET_ADMIN, MAX_ID, SERVER_ADMIN, Caller, Db, Id
from app.api.attempts import Attempts
from app.api.door import cookie
from app.errors import NearmissError
from app.store.models import AuditEntry, Grant, PersonRow

router = APIRouter(prefix="/api")
passwords = Attempts(most=10, window_s=60.0)
RowId = Annotated[int, Field(ge=1, le=MAX_ID)]
Secret = Annotated[str, Field(max_length=accounts.MAX_PASSWORD)]


@dataclass(frozen=True)
class Me:
    """Who one is; without an account one is the single local user, who may everything."""

    name: str
    role: Role | None
    has_account: bool
    has_password: bool


@dataclass(frozen=True)
class PersonView:
    """An account, with the roles granted on single data sets."""

    id: int
    name: str
    role: str
    limited: bool
    from_outside: bool
    granted: dict[int, str]
    created_at: datetime


@dataclass(frozen=True)
class TokenView:
    """A token, without its secret."""

    id: int
    name: str
    role: str | None
    data_set_id: int | None
    expires_at: float
    created_at: datetime


@dataclass(frozen=True)
class Shown:
    """A secret that is shown this one time."""

    secret: str


@dataclass(frozen=True)
class AuditView:
    """One line of the audit log."""

    id: int
    person: str
    action: str
    detail: dict[str, Any]
    created_at: datetime


class NewPassword(BaseModel):
    """The present password and the new one."""

    old: Secret
    new: Secret


class NewToken(BaseModel):
    """What a program may do with it, where, and for how long."""

    name: str = Field(default="", max_length=200)
    role: Role = "viewer"
    data_set_id: RowId | None = None
    days: int = Field(default=30, ge=1, le=366)


class NewPerson(BaseModel):
    """An account made by an admin; the first one must be an admin's."""

    name: str = Field(max_length=1000)
    role: Role
    limited: bool = False
    password: Secret


class RoleEverywhere(BaseModel):
    """The role on all data sets; `limited`: only where it is granted."""

    role: Role
    limited: bool = False


class RoleHere(BaseModel):
    """The role on one data set; null takes it away."""

    role: Role | None


class NewInvitation(BaseModel):
    """The role that the link gives, on one data set or (null) on all."""

    role: Role = "annotator"
    data_set_id: RowId | None = None


@router.get("/me", dependencies=[ANYBODY])
def me(database: Db, caller: Caller) -> Me:
    """Who one is."""
    with database.reading() as session:
        row = session.get(PersonRow, caller.person_id) if caller.person_id else None
        return Me(caller.name, caller.role_on(None), row is not None, bool(row and row.password_hash))


@router.post("/me/password", dependencies=[ANYBODY])
def change_my_password(body: NewPassword, request: Request, database: Db, caller: Caller) -> Me:
    """A new password; every other session and every token ends."""
    if caller.person_id is None:
        raise NearmissError("there is no account to change; add a person first")
    if not passwords.allow(str(caller.person_id)):
        raise NearmissError("too many attempts; wait a minute and try again")
    with database.transaction() as session:
        keep = cookie(request.headers)
        accounts.change_password(session, person_id=caller.person_id, old=body.old, new=body.new, keep=keep)
    return me(database, caller)


@router.get("/me/tokens", dependencies=[ANYBODY])
def my_tokens(database: Db, caller: Caller) -> list[TokenView]:
    """One's own tokens."""
    with database.reading() as session:
        rows = tokens_of(session, caller.person_id) if caller.person_id else []
        return [TokenView(t.id, t.name, t.cap, t.data_set_id, t.expires_at, t.created_at) for t in rows]


@router.post("/me/tokens", dependencies=[ASKS_ITSELF])
def new_token(body: NewToken, database: Db, caller: Caller) -> Shown:
    """A token for a program: send it as `Authorization: Bearer …`."""
    with database.transaction() as session:
        secret = make_token(
            session,
            caller,
            name=body.name,
            cap=body.role,
            days=body.days,
            data_set_id=body.data_set_id,
        )
    return Shown(secret)


@router.delete("/me/tokens/{token_id}", dependencies=[ANYBODY])
def delete_token(token_id: Id, database: Db, caller: Caller) -> list[TokenView]:
    """Ends one of one's own tokens."""
    with database.transaction() as session:
        revoke(session, caller, token_id=token_id)
    return my_tokens(database, caller)


@router.get("/people", dependencies=[SERVER_ADMIN])
def people(database: Db) -> list[PersonView]:
    """All accounts."""
    with database.reading() as session:
        return _people(session)


@router.post("/people", dependencies=[SERVER_ADMIN])
def add_person(body: NewPerson, database: Db, caller: Caller) -> list[PersonView]:
    """Add an account; from the first one on everybody has to log in."""
    with database.transaction() as session:
        accounts.may_be_added(session, caller, role=body.role)
        accounts.add_person(session, **body.model_dump(), by=caller.name)
        return _people(session)


@router.post("/people/{person_id}/role", dependencies=[SERVER_ADMIN])
def set_role(person_id: Id, body: RoleEverywhere, database: Db, caller: Caller) -> list[PersonView]:
    """What a person may do everywhere."""
    with database.transaction() as session:
        accounts.set_role(session, person_id=person_id, **body.model_dump(), by=caller.name)
        return _people(session)


@router.post("/people/{person_id}/password", dependencies=[SERVER_ADMIN])
def reset_password(person_id: Id, database: Db, caller: Caller) -> Shown:
    """A new password for somebody who lost theirs; their sessions and tokens end."""
    with database.transaction() as session:
        return Shown(accounts.reset_password(session, person_id=person_id, by=caller.name))


@router.delete("/people/{person_id}", dependencies=[SERVER_ADMIN])
def remove_person(person_id: Id, database: Db, caller: Caller) -> list[PersonView]:
    """Ends an account; verdicts keep the name."""
    with database.transaction() as session:
        accounts.remove_person(session, person_id=person_id, by=caller.name)
        return _people(session)


@router.post("/invitations", dependencies=[SERVER_ADMIN])
def new_invitation(body: NewInvitation, database: Db, caller: Caller) -> Shown:
    """The secret of a one-time link, /join/SECRET, valid for a week."""
    with database.transaction() as session:
        return Shown(invite(session, role=body.role, data_set_id=body.data_set_id, by=caller.name))


@router.get("/data-sets/{data_set_id}/people", dependencies=[DATA_SET_ADMIN])
def people_here(data_set_id: Id, database: Db) -> list[PersonView]:
    """Who sees this data set."""
    with database.reading() as session:
        found = _people(session)
    here = [p for p in found if not p.limited or data_set_id in p.granted]
    return [PersonView(**{**p.__dict__, "granted": _only(p.granted, data_set_id)}) for p in here]


@router.post("/data-sets/{data_set_id}/people/{person_id}", dependencies=[DATA_SET_ADMIN])
def grant(data_set_id: Id, person_id: Id, body: RoleHere, database: Db, caller: Caller) -> list[PersonView]:
    """What a person may do on this data set, beyond their role everywhere."""
    with database.transaction() as session:
        accounts.grant(session, person_id=person_id, data_set_id=data_set_id, role=body.role, by=caller.name)
    return people_here(data_set_id, database)


@router.post("/data-sets/{data_set_id}/invitations", dependencies=[DATA_SET_ADMIN])
def invite_here(data_set_id: Id, body: RoleHere, database: Db, caller: Caller) -> Shown:
    """As `/api/invitations`, for this data set only."""
    with database.transaction() as session:
        return Shown(invite(session, role=body.role or "viewer", data_set_id=data_set_id, by=caller.name))


@router.get("/audit", dependencies=[SERVER_ADMIN])
def audit(
    database: Db,
    before: Annotated[int | None, Query(ge=1, le=MAX_ID)] = None,
    limit: Annotated[int, Query(ge=1, le=500)] = 100,
) -> list[AuditView]:
    """Who did what, the newest first; `before`: the last id of the page before."""
    query = select(AuditEntry).order_by(AuditEntry.id.desc()).limit(limit)
    if before is not None:
        query = query.where(AuditEntry.id < before)
    with database.reading() as session:
        return [AuditView(a.id, a.person, a.action, a.detail, a.created_at) for a in session.scalars(query)]


def _people(session: Session) -> list[PersonView]:
    granted: dict[int, dict[int, str]] = {}
    for row in session.scalars(select(Grant)):
        granted.setdefault(row.person_id, {})[row.data_set_id] = row.role
    return [
        PersonView(
            id=p.id,
            name=p.name,
            role=p.role,
            limited=p.limited,
            from_outside=p.external_id is not None,
            granted=granted.get(p.id, {}),
            created_at=p.created_at,
        )
        for p in session.scalars(select(PersonRow).order_by(PersonRow.id))
    ]


def _only(granted: dict[int, str], data_set_id: int) -> dict[int, str]:
    return {key: role for key, role in granted.items() if key == data_set_id}
