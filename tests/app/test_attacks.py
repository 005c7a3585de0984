"""A part of benchmarks/attacks.py: one payload in ten of each kind, all of them blocked."""

import sys
from pathlib import Path

import pytest
from argon2 import PasswordHasher
from fastapi.testclient import TestClient

from app.actions import accounts
from app.api.log_in import attempts as log_ins
from app.api.server import create_app
from app.settings import Settings
from app.store.database import Database

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "benchmarks"))
from attacks import Attempts, Listener, attack, fill


def test_no_payload_comes_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quick = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(accounts, "HASHER", quick)
    monkeypatch.setattr(accounts, "NOBODY", quick.hash("nobody"))
    (tmp_path / "roots").mkdir()
    settings = Settings(home=tmp_path / "home", import_roots=str(tmp_path / "roots"))
    settings.home.mkdir()
    tokens = fill(Database(settings), hostile=True)
    listener, attempts = Listener(), Attempts(every=10)
    log_ins.forget()
    with TestClient(create_app(settings), base_url="http://127.0.0.1:7860", follow_redirects=False) as client:
        attack(client, tokens, attempts, listener=listener)
    listener.close()
    assert attempts.failed == []
    assert set(attempts.tried) == {"xss", "traversal", "ssrf", "csrf", "header"}
    assert sum(attempts.tried.values()) > 100
