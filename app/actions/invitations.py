"""Invitations: a link that makes one account, once, within a week."""

import secrets
from typing import cast

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from app.actions.accounts import add_person, anybody, check_role
from app.actions.audit import record
from app.actions.credentials import hash_of
from app.actions.rights import Role
from app.errors import Conflict, NotFound
from app.store.database import epoch_s
from app.store.models import DataSet, Grant, Invitation, PersonRow

LIVES_S = 7 * 86400.0


def invite(session: Session, *, role: Role, data_set_id: int | None, by: str) -> str:
    """The link's secret, which cannot be read again: `role` on one data set, or on all (None).

    Raises NotFound, Conflict where there is no account yet.
    """
    check_role(role)
    if not anybody(session):
        raise Conflict("there is no account yet; add an admin's first, then invite")
    if data_set_id is not None and session.get(DataSet, data_set_id) is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    secret = secrets.token_urlsafe(32)
    now = session.scalar(select(epoch_s())) or 0.0
    row = Invitation(hash=hash_of(secret), role=role, created_by=by, expires_at=now + LIVES_S)
    row.data_set_id = data_set_id
    session.add(row)
    record(session, person=by, action="invited", detail={"role": role, "data_set_id": data_set_id})
    return secret


def look(session: Session, *, secret: str) -> Invitation:
    """Raises NotFound for one that never was, was used, or has expired."""
    row = session.scalar(select(Invitation).where(Invitation.hash == hash_of(secret)))
    now = session.scalar(select(epoch_s())) or 0.0
    if row is None or row.used_by is not None or row.expires_at < now:
        raise NotFound("this invitation was used, has expired or never was; ask for a new one")
    return row


def accept(session: Session, *, secret: str, name: str, password: str) -> PersonRow:
    """The new account; the link is worth nothing afterwards. Raises NotFound, NearmissError."""
    row = look(session, secret=secret)
    person = add_person(
        session, name=name, role=cast(Role, row.role), password=password, limited=row.data_set_id is not None
    )
    if row.data_set_id is not None:
        session.add(Grant(person_id=person.id, data_set_id=row.data_set_id, role=row.role))
        person.role = "viewer"
    used = update(Invitation).where(Invitation.id == row.id, Invitation.used_by.is_(None))
    if session.execute(used.values(used_by=person.name)).rowcount != 1:  # type: ignore[attr-defined]
        raise NotFound("this invitation was used a moment ago; ask for a new one")
    return person
