"""Log-in through an OpenID Connect provider (authlib: discovery, PKCE, state, nonce, the token's signature)."""

import logging
import secrets
from typing import Any

from authlib.integrations.starlette_client import OAuth
from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import Response
from sqlalchemy import select
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool
from starlette.middleware.sessions import SessionMiddleware

from app.actions.accounts import add_row
from app.actions.audit import record
from app.actions.credentials import SESSION_S, issue
from app.api.access import OPEN, Db
from app.api.forms import sentence
from app.api.log_in import with_session
from app.errors import NearmissError
from app.settings import Settings
from app.store.database import Database
from app.store.models import PersonRow
from app.store.text import clean

log = logging.getLogger(__name__)
STATE_S = 600  # between leaving for the provider and coming back


def add_oidc(app: FastAPI, settings: Settings) -> None:
    """The two routes, where a provider is configured. A restart in between only means to click again."""
    if not settings.oidc_issuer:
        return
    provider: Any = OAuth().register(
        "provider",
        client_id=settings.oidc_client_id,
        client_secret=settings.oidc_client_secret.get_secret_value() or None,
        server_metadata_url=settings.oidc_issuer.rstrip("/") + "/.well-known/openid-configuration",
        client_kwargs={"scope": "openid profile email", "code_challenge_method": "S256", "timeout": 10.0},
    )
    key = secrets.token_urlsafe(32)
    app.add_middleware(SessionMiddleware, secret_key=key, session_cookie="nearmiss_oidc", max_age=STATE_S)
    app.include_router(_routes(provider))


def _routes(provider: Any) -> APIRouter:
    router = APIRouter(dependencies=[OPEN])

    @router.get("/oidc/log-in")
    async def leave_for_provider(request: Request) -> Response:
        """Off to the provider."""
        try:
            answer: Response = await provider.authorize_redirect(request, str(request.url_for("back")))
        except Exception as error:  # the library's, httpx's and httpx2's errors have no common root
            log.warning("the OpenID provider does not answer: %s", type(error).__name__)
            return sentence("the provider does not answer; try again, or log in with a password", 503)
        return answer

    @router.get("/oidc/back", name="back")
    async def back(request: Request, database: Db) -> Response:
        """Back with a code: a session for the account of that issuer and subject."""
        try:
            token = await provider.authorize_access_token(request)
        except Exception as error:  # as above, and those of the signature's check
            log.warning("a log-in through the provider was refused: %s", type(error).__name__)
            return sentence("the provider did not confirm this log-in; try again", 401)
        secret = await run_in_threadpool(_enter, database, dict(token.get("userinfo") or {}))
        if secret is None:
            return sentence("the provider did not say who you are; try again", 401)
        return with_session(request, secret)

    return router


def _enter(database: Database, claims: dict[str, Any]) -> str | None:
    if not claims.get("iss") or not claims.get("sub"):
        return None
    external = f"{claims['iss']}|{claims['sub']}"[:400]
    with database.transaction() as session:
        person = session.scalar(select(PersonRow).where(PersonRow.external_id == external))
        person = person or _newcomer(session, external, claims, database.settings)
        record(session, person=person.name, action="logged in", detail={"through": str(claims["iss"])[:200]})
        return issue(session, person_id=person.id, kind="session", lives_s=SESSION_S)


def _newcomer(session: Session, external: str, claims: dict[str, Any], settings: Settings) -> PersonRow:
    """A name that is in use is never taken over: the newcomer gets a number behind it."""
    said = claims.get("preferred_username") or claims.get("email") or claims["sub"]
    name = clean(str(said)).strip()[:180] or "somebody"
    for number in range(1, 1000):
        tried = name if number == 1 else f"{name} {number}"
        if session.scalar(select(PersonRow.id).where(PersonRow.name == tried)) is None:
            role = settings.oidc_role or "viewer"
            limited = not settings.oidc_role
            return add_row(session, name=tried, role=role, limited=limited, by=tried, external=external)
    raise NearmissError(f"the name {name!r} is in use too often; ask an admin")
