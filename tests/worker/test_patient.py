"""A broker that is away: workers look for it every two seconds, however long it has been away."""

import pickle

import pytest
from kombu.exceptions import ContentDisallowed, OperationalError
from kombu.serialization import loads, prepare_accept_content
from servers import Broker, free_port

from worker.celery_app import app
from worker.patient import Patient


def test_pauses_between_looks_do_not_grow(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("kombu.utils.functional.sleep", slept.append)
    connection = Patient("t", broker=f"redis://127.0.0.1:{free_port()}/0").connection_for_read()
    with pytest.raises(OperationalError):
        connection.ensure_connection(max_retries=20)
    assert sum(slept) == pytest.approx(40, abs=4)  # Celery's own: 350 s


def test_a_broker_that_comes_back_is_found() -> None:
    broker = Broker()
    try:
        broker.kill()
        connection = Patient("t", broker=broker.url).connection_for_read()
        seen = []
        connection.ensure_connection(errback=lambda *_: seen.append(broker.start()), max_retries=10)
        assert connection.connected and len(seen) >= 1
        connection.release()
    finally:
        broker.close()


@pytest.mark.parametrize("conf", [app.conf, Patient("search's, which names none").conf])
def test_a_pickled_message_is_refused(conf) -> None:
    accepted = prepare_accept_content(conf.accept_content)
    assert loads("[1]", "application/json", "utf-8", accept=accepted) == [1]
    with pytest.raises(ContentDisallowed):
        loads(pickle.dumps([1]), "application/x-python-serialize", "binary", accept=accepted)
