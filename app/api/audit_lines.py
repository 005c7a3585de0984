"""Which line of the audit log a changing request leaves behind, or why it leaves none.

Accounts, access and log-in write their own line in their own transaction (`app.actions.audit`). For the rest the edge
writes one after the change was made; a request that was refused leaves none. A changing route that stands in none
of the tables fails tests/app/test_audit.py.
"""

import logging
from collections.abc import AsyncIterator
from typing import Any

from fastapi import Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.concurrency import run_in_threadpool

from app.actions.audit import record
from app.api.access import Db
from app.store.database import Database
from app.store.reads.owners import NAMES

log = logging.getLogger(__name__)
SAID = {*NAMES, "name", "format", "source", "verb"}  # of path and body; never a secret

LINES = {
    "/api/data-sets": "imported a data set",
    "/api/data-sets/{data_set_id}/import": "imported again",
    "/api/data-sets/{data_set_id}/mine": "looked for suggestions",
    "/api/data-sets/{data_set_id}/export": "exported",
    "/api/data-sets/{data_set_id}/map": "made a map",
    "/api/data-sets/{data_set_id}/desk": "set the desk",
    "/api/data-sets/{data_set_id}/guidelines": "wrote guidelines",
    "/api/data-sets/{data_set_id}/verdict-files": "imported verdicts",
    "/api/data-sets/{data_set_id}/explore/verdicts": "gave verdicts in bulk",
    "/api/data-sets/{data_set_id}/explore/undo": "took verdicts back in bulk",
    "/api/data-sets/{data_set_id}/explore/tag": "tagged images in bulk",
    "/api/data-sets/{data_set_id}/bulk-checks": "began a bulk check",
    "/api/bulk-checks/{check_id}/apply": "applied a bulk check",
    "/api/data-sets/{data_set_id}/probes": "added a probe",
    "/api/data-sets/{data_set_id}/probes/{probe_id}": "removed a probe",
    "/api/duplicates/{group_id}/settle": "settled duplicates",
    "/api/duplicates/{group_id}/reopen": "reopened duplicates",
    "/api/pairs/{pair_id}/mend": "mended a pair",
    "/api/mends/{mend_id}/undo": "took a mend back",
    "/api/comments/{comment_id}": "removed a comment",
    "/api/images/{image_id}/erase": "erased an image",
    "/api/captions/{caption_id}/erase": "erased a caption",
    "/api/jobs/{job_id}/{verb}": "steered a job",
    "/api/models": "added a model",
    "/api/runs": "started a run",
    "/api/runs/measure": "measured the memory of a run",
    "/api/runs/{run_id}/clone": "cloned a run",
    "/api/runs/{run_id}/{verb}": "steered a run",
    "/api/runs/{run_id}/keep": "kept a run's weights, or no longer",
    "/api/runs/{run_id}/push": "pushed a checkpoint",
    "/api/run-comparisons": "compared runs",
    "/api/uploads": "began an upload",
    "/api/uploads/{upload_id}": "deleted an upload",
}
OWN_LINE = {
    "/log-in",
    "/join/{secret}",
    "/api/me/password",
    "/api/me/tokens",
    "/api/me/tokens/{token_id}",
    "/api/people",
    "/api/people/{person_id}",
    "/api/people/{person_id}/role",
    "/api/people/{person_id}/password",
    "/api/invitations",
    "/api/data-sets/{data_set_id}/people/{person_id}",
    "/api/data-sets/{data_set_id}/invitations",
}
NO_LINE = {
    "/log-out": "ends one's own session only",
    "/api/verdicts": "verdicts are append-only and are their own log",
    "/api/verdicts/undo": "the same",
    "/api/data-sets/{data_set_id}/written": "the same: a verdict",
    "/api/items/{image_id}/comments": "a comment bears name and time itself",
    "/api/data-sets/{data_set_id}/queue": "a lease of a few minutes",
    "/api/data-sets/{data_set_id}/boards": "the same",
    "/api/uploads/{upload_id}/file": "a piece of an upload that has its line",
    "/api/previews": "changes nothing",
    "/api/runs/preview": "changes nothing",
    "/api/data-sets/{data_set_id}/search": "changes nothing",
    "/api/data-sets/{data_set_id}/map/cards": "changes nothing",
    "/api/data-sets/{data_set_id}/slices": "changes nothing",
    "/api/data-sets/{data_set_id}/bulk-checks/plan": "changes nothing",
    "/api/data-sets/{data_set_id}/disagreements": "changes nothing",
}


async def leave_a_line(request: Request, database: Db) -> AsyncIterator[None]:
    """Before every route, and after the ones that changed something."""
    yield
    action = LINES.get(request.scope["route"].path) if request.method not in ("GET", "HEAD") else None
    if action is None:
        return
    detail = _said(request)
    person = request.state.who.name
    try:
        await run_in_threadpool(_write, database, person, action, detail)
    except SQLAlchemyError as error:  # the change stands; the log of the process keeps the line
        log.error("no line in the audit log for %r by %r %s: %s", action, person, detail, error)


def _said(request: Request) -> dict[str, Any]:
    """Ids and names of the path, and of a body that the route has read."""
    body = getattr(request, "_json", None)
    found = (body if isinstance(body, dict) else {}) | request.path_params
    return {name: str(value)[:200] for name, value in found.items() if name in SAID}


def _write(database: Database, person: str, action: str, detail: dict[str, Any]) -> None:
    with database.transaction() as session:
        record(session, person=person, action=action, detail=detail)
