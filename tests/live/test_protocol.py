"""The lines of "Jobs and broker" that need everything real: Postgres, Valkey, two workers, processes that die.

One installation for all of them; leases of 3 s, messages that the broker hands out again after 5 s. The last test is
twenty of the campaign's kills: `python benchmarks/kill_anything.py --kills 300` is the whole of it.
"""

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import redis
from safetensors.torch import load

from app.jobs import lease
from app.jobs.enqueue import enqueue
from app.jobs.reconcile import Reconciler
from app.settings import Settings
from app.store.database import Database
from app.store.models import Job
from app.store.schema import migrate

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))
pytestmark = pytest.mark.timeout(1500)  # on a machine that eight others use
PATIENCE_S = 600.0


@pytest.fixture(scope="module")
def default_lease(tmp_path_factory):
    """Seconds until a job whose worker died is queued again with the settings as they come; measured in the background."""
    settings = Settings(home=tmp_path_factory.mktemp("lease"))
    database = Database(settings)
    migrate(database.engine)
    with database.transaction() as session:
        job_id = enqueue(session, kind="fine_tune", data_set_id=None, request={}).id
    with database.transaction() as session:
        assert lease.claim(session, job_id, worker="dies now")
    reconciler = Reconciler(database)
    reconciler.start()
    took: list[float] = []

    def watch() -> None:
        began = time.monotonic()
        while time.monotonic() - began < 120:
            time.sleep(0.5)
            with database.reading() as session:
                if session.get_one(Job, job_id).state == "queued":
                    took.append(time.monotonic() - began)
                    return

    thread = threading.Thread(target=watch)
    thread.start()

    def result() -> float:
        thread.join()
        reconciler.stop()
        database.close()
        return took[0] if took else float("inf")

    return result


@pytest.fixture(scope="module")
def campaign(default_lease):
    import random

    from installation import Installation
    from kill_anything import Campaign
    from servers import Postgres

    if not list(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or shutil.which("ps") is None:
        if os.environ.get("CI"):
            pytest.fail("Postgres or ps is missing; install postgresql and procps")
        pytest.skip("Postgres or ps is missing, so nothing is killed here")
    postgres = Postgres()
    nearmiss = Installation(
        NEARMISS_DATABASE_URL=postgres.url,
        NEARMISS_LEASE_S="3",
        NEARMISS_MAX_ATTEMPTS="1000",
        NEARMISS_VISIBILITY_S="5",
        NEARMISS_GPU_WORKERS="2",
    )
    try:
        made = Campaign(nearmiss, postgres, random.Random(7))
        made.prepare()
        yield made
    finally:
        nearmiss.close()
        postgres.close()


def start(campaign, name, **changes):
    from kill_anything import SETTINGS

    processes = changes.pop("processes", 1)
    body = {
        "data_set_id": 1,
        "model_id": 1,
        "preset": "scratch",
        "overrides": SETTINGS | changes,
        "name": name,
        "processes": processes,
    }
    return campaign.nearmiss.post("/api/runs", body)["run"]["id"]


def view(campaign, run_id):
    run = campaign.nearmiss.get(f"/api/runs/{run_id}")
    assert run["state"] not in ("failed", "cancelled"), run["reason"] + campaign.nearmiss.logs()
    return run


def wait_for(campaign, run_id, what, found):
    return campaign.nearmiss.wait(what, lambda: found(view(campaign, run_id)), timeout_s=PATIENCE_S)


def finish(campaign, run_id):
    wait_for(campaign, run_id, "the end of the run", lambda run: run["state"] == "finished")


def events(campaign, run_id, kind):
    found, after = [], 0
    while page := campaign.nearmiss.get(f"/api/runs/{run_id}/events?limit=1000&after={after}")["events"]:
        found += [event for event in page if event["kind"] == kind]
        after = page[-1]["id"]
    return found


def num_states(campaign, run_id, state):
    return sum(event["body"]["to"] == state for event in events(campaign, run_id, "state"))


def processes_of(campaign, run_id):
    """(the worker that holds the run, the process that trains)."""
    job = campaign.nearmiss.get(f"/api/jobs/{view(campaign, run_id)['job_id']}")
    holder = int(job["worker"].rsplit(":", 1)[1])
    below = subprocess.run(["ps", "-o", "pid=", "--ppid", str(holder)], capture_output=True, text=True).stdout
    return holder, int(below.split()[0])


def same_as_undisturbed(campaign, run_id):
    import hashlib

    return hashlib.sha256(campaign.nearmiss.weights(run_id)).hexdigest() == campaign.expected[0]


def test_two_processes_agree_with_one_after_twenty_steps(campaign):
    exact = {"precision": "fp64", "max_steps": 20}
    alone, together = start(campaign, "one", **exact), start(campaign, "two", processes=2, **exact)
    finish(campaign, alone)
    finish(campaign, together)
    one, two = load(campaign.nearmiss.weights(alone)), load(campaign.nearmiss.weights(together))
    assert one.keys() == two.keys()
    floating = [name for name, tensor in one.items() if tensor.is_floating_point()]
    assert all(one[name].double().dtype == one[name].dtype for name in floating)
    apart = max((one[name] - two[name]).abs().max().item() for name in floating)
    assert apart <= 1e-9, apart


def test_two_processes_survive_the_death_of_one(campaign):
    run_id = start(campaign, "two, one dies", processes=2)
    wait_for(campaign, run_id, "a step", lambda run: run["state"] == "running" and run["done"] > 2)
    ranks = campaign.nearmiss.pids("worker.rank")
    assert len(ranks) == 2
    os.kill(max(ranks), signal.SIGKILL)
    finish(campaign, run_id)
    assert num_states(campaign, run_id, "claimed") == 2


def test_neither_a_message_handed_out_twice_nor_a_database_away_starts_a_second_copy(campaign):
    run_id = start(campaign, "long", max_steps=20_000)
    wait_for(campaign, run_id, "a step", lambda run: run["done"] > 2)
    _, training = processes_of(campaign, run_id)
    campaign.postgres.kill()
    time.sleep(6.5)  # more than two leases
    campaign.postgres.start()
    # the training worker confirms its message at the end only: none is open once a second reader took it and left
    broker = redis.Redis(unix_socket_path=str(Settings(home=campaign.nearmiss.home).broker_socket))
    campaign.nearmiss.wait(
        "the second reader",
        lambda: not broker.zcard("unacked_index") and not broker.llen("gpu"),
        timeout_s=PATIENCE_S,
    )
    assert view(campaign, run_id)["state"] == "running", "the run was too short to outlive its message"
    assert processes_of(campaign, run_id)[1] == training
    campaign.nearmiss.post(f"/api/runs/{run_id}/pause")
    campaign.nearmiss.wait(
        "the pause", lambda: view(campaign, run_id)["state"] == "paused", timeout_s=PATIENCE_S
    )
    campaign.nearmiss.post(f"/api/runs/{run_id}/cancel")
    assert num_states(campaign, run_id, "claimed") == 1
    steps = [point[0] for event in events(campaign, run_id, "step") for point in event["body"]["points"]]
    assert sorted(set(steps)) == list(range(1, max(steps) + 1)), "steps of the outage were not reported later"


def test_a_frozen_process_is_fenced_off_and_leaves_when_it_wakes(campaign):
    run_id = start(campaign, "frozen", seed=0)
    wait_for(campaign, run_id, "a checkpoint", lambda run: run["done"] > 5)
    _, training = processes_of(campaign, run_id)
    os.kill(training, signal.SIGSTOP)
    campaign.nearmiss.wait(
        "the other worker", lambda: num_states(campaign, run_id, "claimed") == 2, timeout_s=PATIENCE_S
    )
    os.kill(training, signal.SIGCONT)
    campaign.nearmiss.wait(
        "the frozen one's end", lambda: not Path(f"/proc/{training}").exists(), timeout_s=PATIENCE_S
    )
    finish(campaign, run_id)
    assert num_states(campaign, run_id, "finished") == 1 and same_as_undisturbed(campaign, run_id)


def test_a_worker_that_is_stopped_saves_lets_go_and_another_goes_on(campaign):
    run_id = start(campaign, "stopped worker", seed=0)
    wait_for(campaign, run_id, "a step", lambda run: run["done"] > 5)
    holder, _ = processes_of(campaign, run_id)
    os.kill(holder, signal.SIGTERM)
    finish(campaign, run_id)
    reasons = [event["body"]["reason"] for event in events(campaign, run_id, "state")]
    assert "the worker was stopped" in reasons
    assert any("resumed from step" in event["body"]["text"] for event in events(campaign, run_id, "log"))
    assert same_as_undisturbed(campaign, run_id)


def test_a_broker_that_lost_its_memory_is_told_again(campaign):
    campaign.nearmiss.kill("valkey-server")
    shutil.rmtree(campaign.nearmiss.home / "broker", ignore_errors=True)
    (campaign.nearmiss.home / "broker").mkdir()
    run_id = start(campaign, "no broker", max_steps=2)
    finish(campaign, run_id)
    assert num_states(campaign, run_id, "finished") == 1


def test_twenty_kills_of_anything_lose_and_double_nothing(campaign):
    campaign.disturb(20, 1.5, 10)
    campaign.settle()
    figures = campaign.judge()
    assert figures.pop("kills") == 20
    runs, verdicts = figures.pop("runs"), figures.pop("verdicts")
    assert runs > 2 and verdicts > 0, "nothing went on meanwhile"
    assert not any(figures.values()), figures


def test_with_the_default_lease_a_dead_workers_job_is_found_within_a_minute(default_lease):
    assert 40 < default_lease() <= 60
