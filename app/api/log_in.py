"""Coming in and leaving: the log-in, an invitation's page, the log-out."""

from ipaddress import ip_address, ip_network
from urllib.parse import parse_qs

from anyio import to_thread
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from app.actions.accounts import check_password, get_person
from app.actions.audit import record
from app.actions.credentials import SESSION_S, issue, log_out
from app.actions.invitations import accept, look
from app.api.access import ANYBODY, OPEN, Db
from app.api.attempts import Attempts
from app.api.door import COOKIE, cookie
from app.api.forms import form, sentence
from app.errors import NearmissError
from app.store.database import Database

router = APIRouter()
attempts = Attempts(most=10, window_s=60.0)
MAX_FORM_BYTES = 16_384
TOO_MANY = "too many attempts; wait a minute and try again"


@router.get("/log-in", response_class=HTMLResponse, dependencies=[OPEN])
async def page(database: Db) -> HTMLResponse:
    """The form."""
    return _form(database, "", 200)


@router.post("/log-in", dependencies=[OPEN])
async def enter(request: Request, database: Db) -> Response:
    """A session in a cookie that scripts cannot read, then the page; or the form with one sentence."""
    if not attempts.allow(_address(request)):
        return _form(database, TOO_MANY, 429)
    name, password = await _name_and_password(request)
    try:
        secret = await to_thread.run_sync(_log_in, database, name, password)
    except NearmissError as error:  # a wrong password, or a name that is no text
        return _form(database, str(error), error.status)
    return with_session(request, secret)


@router.get("/join/{secret}", response_class=HTMLResponse, dependencies=[OPEN])
def invited(secret: str, request: Request, database: Db) -> HTMLResponse:
    """The form of an invitation that stands."""
    if not attempts.allow(_address(request)):
        return sentence(TOO_MANY, 429)
    try:
        with database.reading() as session:
            look(session, secret=secret)
    except NearmissError as error:
        return sentence(str(error), error.status)
    return _join(secret, "Choose a name and a password.", 200)


@router.post("/join/{secret}", dependencies=[OPEN])
async def join(secret: str, request: Request, database: Db) -> Response:
    """The new account, logged in; or the form with one sentence."""
    if not attempts.allow(_address(request)):
        return sentence(TOO_MANY, 429)
    name, password = await _name_and_password(request)
    try:
        session_secret = await to_thread.run_sync(_accept, database, secret, name, password)
    except NearmissError as error:
        return sentence(str(error), 404) if error.status == 404 else _join(secret, str(error), error.status)
    return with_session(request, session_secret)


@router.post("/log-out", dependencies=[ANYBODY])
def leave(request: Request, database: Db) -> Response:
    """Ends this session, on the server too."""
    with database.transaction() as session:
        log_out(session, secret=cookie(request.headers))
    answer = RedirectResponse("/log-in", 303)
    answer.delete_cookie(COOKIE, path="/")
    return answer


def with_session(request: Request, secret: str) -> Response:
    """To the page, with the session's cookie."""
    answer = RedirectResponse("/", 303)
    secure = request.url.scheme == "https"
    answer.set_cookie(
        COOKIE, secret, max_age=int(SESSION_S), httponly=True, samesite="lax", secure=secure, path="/"
    )
    return answer


def _log_in(database: Database, name: str, password: str) -> str:
    with database.reading() as session:
        person_id = check_password(session, name=name, password=password)
    with database.transaction() as session:
        record(session, person=get_person(session, person_id).name, action="logged in")
        return issue(session, person_id=person_id, kind="session", lives_s=SESSION_S)


def _accept(database: Database, secret: str, name: str, password: str) -> str:
    with database.transaction() as session:
        person = accept(session, secret=secret, name=name, password=password)
        return issue(session, person_id=person.id, kind="session", lives_s=SESSION_S)


async def _name_and_password(request: Request) -> tuple[str, str]:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > MAX_FORM_BYTES:  # a stranger's two megabytes of fields took the event loop 1.3 s
            return "", ""
    fields = parse_qs(body.decode("utf-8", "replace"))
    return fields.get("name", [""])[0], fields.get("password", [""])[0]


def _address(request: Request) -> str:
    """Of IPv6 the network: everybody who has one address there has 2^64."""
    host = request.client.host if request.client else ""
    try:
        address = ip_address(host.partition("%")[0])
    except ValueError:
        return host
    if address.version == 4:
        return host
    return str(address.ipv4_mapped or ip_network((int(address), 64), strict=False))


def _form(database: Database, said: str, status: int) -> HTMLResponse:
    outside = database.settings.oidc_name if database.settings.oidc_issuer else ""
    return form(action="/log-in", said=said, status=status, button="Log in", new=False, outside=outside)


def _join(secret: str, said: str, status: int) -> HTMLResponse:
    return form(action=f"/join/{secret}", said=said, status=status, button="Join", new=True)
