"""Accounts: add a person, log in, make a token, log out, and tell who bears a secret."""

import hashlib
import secrets
from dataclasses import dataclass
from typing import Literal, cast

from argon2 import PasswordHasher
from argon2.exceptions import VerificationError
from sqlalchemy import delete, select
from sqlalchemy.orm import Session

from app.errors import NearmissError
from app.store.database import epoch_s
from app.store.models import Credential, PersonRow
from app.store.text import clean

Role = Literal["viewer", "annotator", "admin"]
SESSION_S = 14 * 86400.0
MIN_PASSWORD = 10
HASHER = PasswordHasher()
NOBODY = HASHER.hash(secrets.token_urlsafe())  # an unknown name costs the same time as a wrong password


class WrongPassword(NearmissError):
    """The same sentence for an unknown name and a wrong password."""

    status = 401


@dataclass(frozen=True)
class Who:
    """The person behind a request."""

    name: str
    role: Role


def add_person(session: Session, *, name: str, role: Role, password: str) -> PersonRow:
    """A new account. Raises NearmissError for a name in use, an unknown role or a short password."""
    name = clean(name).strip()
    if not 1 <= len(name) <= 200:
        raise NearmissError(f"the name has {len(name)} characters; give 1 to 200")
    if role not in ("viewer", "annotator", "admin"):
        raise NearmissError(f"there is no role {role!r}; use viewer, annotator or admin")
    if len(password) < MIN_PASSWORD:
        raise NearmissError(f"the password has {len(password)} characters; give at least {MIN_PASSWORD}")
    if session.scalar(select(PersonRow.id).where(PersonRow.name == name)) is not None:
        raise NearmissError(f"{name!r} has an account already; choose another name")
    person = PersonRow(name=name, role=role, password_hash=HASHER.hash(password))
    session.add(person)
    session.flush()
    return person


def check_password(session: Session, *, name: str, password: str) -> int:
    """The person's id. Reads only, because the hash takes its time on purpose. Raises WrongPassword."""
    person = session.scalar(select(PersonRow).where(PersonRow.name == clean(name).strip()))
    try:
        HASHER.verify(person.password_hash if person else NOBODY, password)
    except VerificationError:
        person = None
    if person is None:
        raise WrongPassword("name or password is wrong; try again, or ask an admin for a new password")
    return person.id


def issue(session: Session, *, person_id: int, kind: Literal["session", "token"], lives_s: float) -> str:
    """A new secret that is valid for `lives_s` seconds; it cannot be read again."""
    secret = secrets.token_urlsafe(32)
    now = session.scalar(select(epoch_s())) or 0.0
    session.execute(delete(Credential).where(Credential.expires_at < now))
    session.add(Credential(person_id=person_id, kind=kind, hash=_hash(secret), expires_at=now + lives_s))
    session.flush()
    return secret


def log_out(session: Session, *, secret: str) -> None:
    """Ends what the secret opened."""
    session.execute(delete(Credential).where(Credential.hash == _hash(secret)))


def bearer(session: Session, *, secret: str, kind: Literal["session", "token"]) -> Who | None:
    """Who bears a secret of this kind that has not expired."""
    row = session.execute(
        select(PersonRow.name, PersonRow.role)
        .join(Credential, Credential.person_id == PersonRow.id)
        .where(Credential.hash == _hash(secret), Credential.kind == kind, Credential.expires_at > epoch_s())
    ).first()
    return Who(row.name, cast(Role, row.role)) if row else None


def anybody(session: Session) -> bool:
    """Whether there is an account, so that everybody has to log in."""
    return session.scalar(select(PersonRow.id).limit(1)) is not None


def _hash(secret: str) -> str:
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()
