"""The audit log: who did what, in the transaction that does it. Verdicts keep their own history."""

from typing import Any

from sqlalchemy.orm import Session

from app.store.models import AuditEntry


def record(session: Session, *, person: str, action: str, detail: dict[str, Any] | None = None) -> None:
    """One line; `detail` holds ids and names, never secrets."""
    session.add(AuditEntry(person=person[:200], action=action[:200], detail=detail or {}))
