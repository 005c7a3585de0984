"""Accounts: add a person, check and change a password, say what a person may do, remove one."""

import secrets

from argon2 import PasswordHasher
from argon2.exceptions import Argon2Error, InvalidHashError
from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from app.actions.audit import record
from app.actions.credentials import end_all
from app.actions.rights import RANK, Role, Who
from app.errors import Conflict, NearmissError, NotFound
from app.store.models import DataSet, Grant, PersonRow
from app.store.text import clean

MIN_PASSWORD = 10
MAX_PASSWORD = 1000
HASHER = PasswordHasher()
NOBODY = HASHER.hash(secrets.token_urlsafe())  # an unknown name costs the same time as a wrong password


class WrongPassword(NearmissError):
    """The same sentence for an unknown name and a wrong password."""

    status = 401


def add_person(
    session: Session, *, name: str, role: Role, password: str, limited: bool = False, by: str = ""
) -> PersonRow:
    """A new account; `limited`: the role holds only where it is granted.

    Raises NearmissError for a name in use, an unknown role or a short password.
    """
    name = clean(name).strip()
    if not 1 <= len(name) <= 200:
        raise NearmissError(f"the name has {len(name)} characters; give 1 to 200")
    check_role(role)
    check_new_password(password)
    return add_row(session, name=name, role=role, limited=limited, by=by, password=password)


def add_row(
    session: Session, *, name: str, role: Role, limited: bool, by: str, password: str = "", external: str = ""
) -> PersonRow:
    """The account's row; without a password only a log-in from outside opens it. Raises NearmissError."""
    if session.scalar(select(PersonRow.id).where(PersonRow.name == name)) is not None:
        raise NearmissError(f"{name!r} has an account already; choose another name")
    person = PersonRow(name=name, role=role, limited=limited, external_id=external or None)
    person.password_hash = HASHER.hash(password) if password else ""
    session.add(person)
    session.flush()
    detail = {"name": name, "role": role, "limited": limited}
    record(session, person=by or name, action="added a person", detail=detail)
    return person


def check_role(role: str) -> None:
    """Raises NearmissError for an unknown one."""
    if role not in RANK:
        raise NearmissError(f"there is no role {role!r}; use viewer, annotator or admin")


def check_new_password(password: str) -> None:
    """Raises NearmissError for one that is too short or too long."""
    if not MIN_PASSWORD <= len(password) <= MAX_PASSWORD:
        raise NearmissError(
            f"the password has {len(password)} characters; give {MIN_PASSWORD} to {MAX_PASSWORD}"
        )


def check_password(session: Session, *, name: str, password: str) -> int:
    """The person's id. Reads only, because the hash takes its time on purpose. Raises WrongPassword."""
    person = session.scalar(select(PersonRow).where(PersonRow.name == clean(name).strip()))
    known = person.password_hash if person and person.password_hash else NOBODY
    try:
        HASHER.verify(known, password[:MAX_PASSWORD])
    except (Argon2Error, InvalidHashError):
        person = None
    if person is None or not person.password_hash:
        raise WrongPassword("name or password is wrong; try again, or ask an admin for a new password")
    return person.id


def change_password(session: Session, *, person_id: int, old: str, new: str, keep: str = "") -> None:
    """A new password; every session and token but the one with the secret `keep` ends. Raises NearmissError."""
    person = get_person(session, person_id)
    check_password(session, name=person.name, password=old)
    check_new_password(new)
    person.password_hash = HASHER.hash(new)
    end_all(session, person_id=person_id, but=keep)
    record(session, person=person.name, action="changed their password")


def reset_password(session: Session, *, person_id: int, by: str) -> str:
    """A new password, shown once, for somebody who lost theirs; their sessions and tokens end. Raises NotFound."""
    password = secrets.token_urlsafe(15)
    set_password(session, person_id=person_id, password=password, by=by)
    return password


def set_password(session: Session, *, person_id: int, password: str, by: str) -> None:
    """Somebody's new password; their sessions and tokens end. Raises NotFound, NearmissError."""
    person = get_person(session, person_id)
    check_new_password(password)
    person.password_hash = HASHER.hash(password)
    end_all(session, person_id=person_id)
    record(session, person=by, action="set a password", detail={"name": person.name})


def set_role(session: Session, *, person_id: int, role: Role, limited: bool, by: str) -> PersonRow:
    """What a person may do everywhere. Raises NotFound, and Conflict where no admin would be left."""
    check_role(role)
    person = get_person(session, person_id)
    if role != "admin" or limited:
        _keep_an_admin(session, person)
    person.role, person.limited = role, limited
    detail = {"name": person.name, "role": role, "limited": limited}
    record(session, person=by, action="set a role", detail=detail)
    return person


def grant(session: Session, *, person_id: int, data_set_id: int, role: Role | None, by: str) -> None:
    """What a person may do on a data set; None: nothing beyond their role everywhere. Raises NotFound."""
    person = get_person(session, person_id)
    if session.get(DataSet, data_set_id) is None:
        raise NotFound(f"there is no data set {data_set_id}; reload the page")
    session.execute(delete(Grant).where(Grant.person_id == person_id, Grant.data_set_id == data_set_id))
    if role is not None:
        check_role(role)
        session.add(Grant(person_id=person_id, data_set_id=data_set_id, role=role))
    detail = {"name": person.name, "data_set_id": data_set_id, "role": role}
    record(session, person=by, action="granted access", detail=detail)


def remove_person(session: Session, *, person_id: int, by: str) -> None:
    """Ends an account with its sessions and tokens; verdicts keep the name. Raises NotFound, Conflict."""
    person = get_person(session, person_id)
    _keep_an_admin(session, person)
    record(session, person=by, action="removed a person", detail={"name": person.name})
    session.delete(person)


def get_person(session: Session, person_id: int) -> PersonRow:
    """Raises NotFound."""
    person = session.get(PersonRow, person_id)
    if person is None:
        raise NotFound(f"there is no person {person_id}; reload the page")
    return person


def anybody(session: Session) -> bool:
    """Whether there is an account, so that everybody has to log in."""
    return session.scalar(select(PersonRow.id).limit(1)) is not None


def first_admin(session: Session) -> str | None:
    """The new password of the account "admin" where there is no account yet, to be shown once; else None."""
    if anybody(session):
        return None
    password = secrets.token_urlsafe(15)
    add_person(session, name="admin", role="admin", password=password, by="the first start")
    return password


def may_be_added(session: Session, who: Who, *, role: Role) -> None:
    """Raises Conflict for a first account that is no admin's: nobody could add the others."""
    if who.person_id is None and role != "admin" and not anybody(session):
        raise Conflict("the first account must be an admin's; choose the role admin")


def _keep_an_admin(session: Session, person: PersonRow) -> None:
    others = select(func.count()).select_from(PersonRow).where(PersonRow.role == "admin")
    others = others.where(PersonRow.limited.is_(False), PersonRow.id != person.id)
    if person.role == "admin" and not person.limited and not session.scalar(others):
        raise Conflict(f"{person.name!r} is the last admin; make somebody else one first")
