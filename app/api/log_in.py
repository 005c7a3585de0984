"""The log-in page, a plain form without a script, and the two routes behind it."""

from html import escape
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions.accounts import check_password
from app.actions.credentials import SESSION_S, issue, log_out
from app.api.access import ANYBODY, OPEN, Db
from app.api.attempts import Attempts
from app.api.door import COOKIE, cookie
from app.errors import NearmissError
from app.store.database import Database

router = APIRouter()
attempts = Attempts(most=10, window_s=60.0)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Log in · Nearmiss</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><style>
:root{color-scheme:light dark}body{font:16px/1.5 system-ui,sans-serif;display:grid;place-items:center;min-height:90vh}
form{width:min(20rem,90vw)}label{display:block;margin-top:1rem}input,button{font:inherit;width:100%;padding:.5rem;
box-sizing:border-box}button{margin-top:1.5rem}</style><main><form method="post" action="/log-in"><h1>Nearmiss</h1>
<p role="alert">SAID</p><label>Name <input name="name" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></main></html>"""


@router.get("/log-in", response_class=HTMLResponse, dependencies=[OPEN])
async def page() -> HTMLResponse:
    """The form."""
    return _page("", 200)


@router.post("/log-in", dependencies=[OPEN])
async def enter(request: Request, database: Db) -> Response:
    """A session in a cookie that scripts cannot read, then the page; or the form with one sentence."""
    fields = parse_qs((await request.body()).decode("utf-8", "replace"))
    if not attempts.allow(request.client.host if request.client else ""):
        return _page("too many attempts; wait a minute and try again", 429)
    try:
        secret = await to_thread.run_sync(_log_in, database, _one(fields, "name"), _one(fields, "password"))
    except NearmissError as error:  # a wrong password, or a name that is no text
        return _page(str(error), error.status)
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, secret, max_age=int(SESSION_S), httponly=True, samesite="lax", secure=secure, path="/"
    )
    return answer


@router.post("/log-out", dependencies=[ANYBODY])
def leave(request: Request, database: Db) -> Response:
    """Ends this session, on the server too."""
    with database.transaction() as session:
        log_out(session, secret=cookie(request.headers))
    answer = RedirectResponse("/log-in", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def _log_in(database: Database, name: str, password: str) -> str:
    with database.reading() as session:
        person_id = check_password(session, name=name, password=password)
    with database.transaction() as session:
        return issue(session, person_id=person_id, kind="session", lives_s=SESSION_S)


def _one(fields: dict[str, list[str]], name: str) -> str:
    return fields.get(name, [""])[0]


def _page(said: str, status: int) -> HTMLResponse:
    return HTMLResponse(PAGE.replace("SAID", escape(said)), status, headers={"Cache-Control": "no-store"})
