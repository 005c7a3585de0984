"""Log-in through a provider: a small one of this file signs real tokens and checks the proof of PKCE."""

import base64
import hashlib
import threading
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import RSAKey
from pydantic import SecretStr

from app.actions.accounts import add_person
from app.api import create_app
from app.store.database import Database
from tests.json_answers import JsonAnswers

SECRET = "the-client-secret"


class Provider(ThreadingHTTPServer):
    """Discovery, keys, token; `claims` is what it says of who comes, `key` signs it."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.key = self.signs_with = RSAKey.generate_key(2048, {"kid": "k1"})
        self.issuer = f"http://127.0.0.1:{self.server_address[1]}"
        self.claims: dict[str, Any] = {"sub": "7", "preferred_username": "Ana"}
        self.challenge = self.nonce = ""

    def says(self, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        """The answer of the token endpoint."""
        proof = hashlib.sha256(form["code_verifier"][0].encode()).digest()
        if base64.urlsafe_b64encode(proof).rstrip(b"=").decode() != self.challenge:
            return 400, {"error": "invalid_grant"}
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": "nearmiss", "iat": now, "exp": now + 60, "nonce": self.nonce}
        signed = jwt.encode({"alg": "RS256", "kid": "k1"}, claims | self.claims, self.signs_with)
        return 200, {"access_token": "a", "token_type": "Bearer", "expires_in": 60, "id_token": signed}


class Handler(JsonAnswers):
    server: Provider

    def do_GET(self) -> None:
        at = self.server.issuer
        if self.path == "/jwks":
            return self.answer(200, {"keys": [self.server.key.as_dict(private=False) | {"alg": "RS256"}]})
        ends = {"authorization_endpoint": f"{at}/authorize", "token_endpoint": f"{at}/token"}
        more = {"id_token_signing_alg_values_supported": ["RS256"], "jwks_uri": f"{at}/jwks"}
        return self.answer(200, {"issuer": at, **ends, **more})

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self.answer(*self.server.says(form))


@pytest.fixture
def provider() -> Iterator[Provider]:
    made = Provider()
    threading.Thread(target=made.serve_forever, daemon=True).start()
    yield made
    made.shutdown()


@pytest.fixture
def client(seeded: Database, provider: Provider) -> Iterator[TestClient]:
    with seeded.transaction() as session:
        add_person(session, name="admin", role="admin", password="a long enough one")
    told = {"oidc_issuer": provider.issuer, "oidc_client_id": "nearmiss", "oidc_name": "<Acme>"}
    settings = seeded.settings.model_copy(update=told | {"oidc_client_secret": SecretStr(SECRET)})
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", follow_redirects=False) as client:
        yield client


def _come_back(client: TestClient, provider: Provider, **changed: str) -> Any:
    away = client.get("/oidc/log-in")
    assert away.status_code == 302, away.text
    asked = {name: values[0] for name, values in parse_qs(urlsplit(away.headers["location"]).query).items()}
    assert asked["code_challenge_method"] == "S256" and SECRET not in away.headers["location"]
    provider.challenge, provider.nonce = asked["code_challenge"], asked["nonce"]
    return client.get("/oidc/back", params={"code": "c", "state": asked["state"]} | changed)


def test_a_newcomer_has_an_account_that_sees_nothing_until_granted(
    client: TestClient, provider: Provider
) -> None:
    assert "Log in with &lt;Acme&gt;" in client.get("/log-in").text
    answer = _come_back(client, provider)
    assert (answer.status_code, answer.headers["location"]) == (303, "/"), answer.text
    assert client.get("/api/me").json() == {
        "name": "Ana",
        "role": None,
        "has_account": True,
        "has_password": False,
    }
    assert client.get("/api/data-sets").json() == []
    assert _come_back(client, provider).status_code == 303
    assert client.post("/log-in", data={"name": "Ana", "password": ""}).status_code == 401


def test_nobody_takes_over_an_account_by_its_name(client: TestClient, provider: Provider) -> None:
    provider.claims = {"sub": "8", "preferred_username": "admin"}
    assert _come_back(client, provider).status_code == 303
    assert client.get("/api/me").json()["name"] == "admin 2"
    assert client.get("/api/people", headers={"X-Nearmiss": "1"}).status_code == 403


def test_a_wrong_state_nonce_proof_audience_or_signature_lets_nobody_in(
    client: TestClient, provider: Provider
) -> None:
    assert _come_back(client, provider, state="other").status_code == 401
    for claims in ({"nonce": "other"}, {"aud": "somebody-else"}, {"iss": "http://evil.example"}, {"exp": 1}):
        provider.claims = {"sub": "9"} | claims
        assert _come_back(client, provider).status_code == 401, claims
    provider.claims = {"sub": "9"}
    provider.signs_with = RSAKey.generate_key(2048, {"kid": "k1"})
    assert _come_back(client, provider).status_code == 401
    assert client.get("/api/me").status_code == 401
    assert SECRET not in client.get("/log-in").text


def test_a_provider_that_is_away_is_one_sentence(client: TestClient, provider: Provider) -> None:
    provider.shutdown()
    provider.server_close()
    answer = client.get("/oidc/log-in")
    assert answer.status_code == 503 and "does not answer" in answer.text
