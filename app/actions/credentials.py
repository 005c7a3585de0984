"""Secrets that stand for a person: sessions of browsers and tokens of programs. Only their SHA-256 is kept."""

import hashlib
import secrets
from typing import Literal, cast

from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.actions.audit import record
from app.actions.rights import RANK, Role, Who
from app.errors import NearmissError, NotFound
from app.store.database import epoch_s
from app.store.models import Credential, Grant, PersonRow
from app.store.text import clean

Kind = Literal["session", "token"]
SESSION_S = 14 * 86400.0
MAX_TOKEN_DAYS = 366


def issue(
    session: Session,
    *,
    person_id: int,
    kind: Kind,
    lives_s: float,
    name: str = "",
    cap: Role | None = None,
    data_set_id: int | None = None,
) -> str:
    """A new secret that is valid for `lives_s` seconds; it cannot be read again."""
    secret = secrets.token_urlsafe(32)
    now = session.scalar(select(epoch_s())) or 0.0
    session.execute(delete(Credential).where(Credential.expires_at < now))
    row = Credential(
        person_id=person_id, kind=kind, hash=hash_of(secret), expires_at=now + lives_s, name=name, cap=cap
    )
    row.data_set_id = data_set_id
    session.add(row)
    session.flush()
    return secret


def make_token(
    session: Session, who: Who, *, name: str, cap: Role, days: int, data_set_id: int | None = None
) -> str:
    """A token of `who`, who may make none that reaches further than they do. Raises NearmissError, NotFound."""
    if who.person_id is None:
        raise NearmissError("without accounts no token is needed; add a person first")
    if who.cap is not None or who.only_data_set_id is not None:
        raise NearmissError("a token cannot make tokens; log in to the page")
    if not 1 <= days <= MAX_TOKEN_DAYS:
        raise NearmissError(f"a token of {days} days; give 1 to {MAX_TOKEN_DAYS}")
    if cap not in RANK:
        raise NearmissError(f"there is no role {cap!r}; use viewer, annotator or admin")
    if data_set_id is not None and not who.sees(data_set_id):
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    name = clean(name).strip()[:200] or "token"
    detail = {"name": name, "role": cap, "days": days, "data_set_id": data_set_id}
    record(session, person=who.name, action="made a token", detail=detail)
    return issue(
        session,
        person_id=who.person_id,
        kind="token",
        lives_s=days * 86400.0,
        name=name,
        cap=cap,
        data_set_id=data_set_id,
    )


def tokens_of(session: Session, person_id: int) -> list[Credential]:
    """A person's tokens that have not expired."""
    query = select(Credential).where(Credential.person_id == person_id, Credential.kind == "token")
    return list(session.scalars(query.where(Credential.expires_at > epoch_s()).order_by(Credential.id)))


def revoke(session: Session, who: Who, *, token_id: int) -> None:
    """Ends one of one's own tokens. Raises NotFound."""
    row = session.get(Credential, token_id)
    if row is None or row.kind != "token" or row.person_id != who.person_id:
        raise NotFound(f"you have no token {token_id}; reload the page")
    session.delete(row)
    record(session, person=who.name, action="revoked a token", detail={"name": row.name})


def log_out(session: Session, *, secret: str) -> None:
    """Ends what the secret opened."""
    session.execute(delete(Credential).where(Credential.hash == hash_of(secret)))


def end_all(session: Session, *, person_id: int, but: str = "") -> None:
    """Ends every session and token of a person, but the one with the secret `but`."""
    session.execute(
        delete(Credential).where(Credential.person_id == person_id, Credential.hash != hash_of(but))
    )


def bearer(session: Session, *, secret: str, kind: Kind) -> Who | None:
    """Who bears a secret of this kind that has not expired."""
    row = session.execute(
        select(PersonRow, Credential.cap, Credential.data_set_id)
        .join(Credential, Credential.person_id == PersonRow.id)
        .where(Credential.hash == hash_of(secret), Credential.kind == kind, Credential.expires_at > epoch_s())
    ).first()
    return None if row is None else who_is(session, row[0], cap=row[1], only_data_set_id=row[2])


def who_is(
    session: Session, person: PersonRow, *, cap: str | None = None, only_data_set_id: int | None = None
) -> Who:
    """A person with what was granted to them."""
    grants = select(Grant.data_set_id, Grant.role).where(Grant.person_id == person.id)
    granted = {data_set_id: cast(Role, role) for data_set_id, role in session.execute(grants).tuples()}
    role = None if person.limited else cast(Role, person.role)
    return Who(person.name, role, person.id, granted, cast("Role | None", cap), only_data_set_id)


def hash_of(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
