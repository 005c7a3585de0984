"""Any process may die: the run goes on from its checkpoint to the same bits, the page attaches again."""

import io
import zipfile

import pytest

pytestmark = pytest.mark.timeout(300)
LONG = {
    "epochs": 30,
    "max_steps": 60,
    "save_every_s": 0.5,
    "batch": {"size": 32, "micro_batch": 16},
    "model": {"train": "all"},
}


def start(nearmiss, name, **changes):
    body = {"data_set_id": 1, "model_id": 1, "preset": "full", "overrides": LONG | changes, "name": name}
    return nearmiss.post("/api/runs", body)["run"]["id"]


def run(nearmiss, run_id):
    return nearmiss.get(f"/api/runs/{run_id}")


def events(nearmiss, run_id, kind):
    page = nearmiss.get(f"/api/runs/{run_id}/events?limit=1000")
    return [event for event in page["events"] if event["kind"] == kind]


def finished(nearmiss, run_id):
    def over():
        view = run(nearmiss, run_id)
        assert view["state"] not in ("failed", "cancelled"), view["reason"]
        return view["state"] == "finished" and view

    return nearmiss.wait("the end of the run", over, timeout_s=280)


def weights(nearmiss, run_id):
    with zipfile.ZipFile(io.BytesIO(nearmiss.bytes(f"/api/runs/{run_id}/checkpoint"))) as archive:
        name = next(name for name in archive.namelist() if name.endswith(".safetensors"))
        return archive.read(name)


def test_import_counts_what_it_took_and_says_what_it_refused(import_said, nearmiss):
    assert "170 pairs imported" in import_said
    assert "missing.png" in import_said and "1 row was refused" in import_said
    assert nearmiss.get("/api/data-sets")[0]["num_pairs"] == 170


def test_doctor_finds_everything_that_runs(nearmiss):
    said = nearmiss.command("doctor")
    assert said.returncode == 0 and "MISSING" not in said.stdout, said.stdout
    assert "gpu worker   ok       1 connected" in said.stdout


def test_run_survives_its_process_and_the_web_killed_and_ends_with_the_same_bits(nearmiss):
    undisturbed = start(nearmiss, "left alone")
    finished(nearmiss, undisturbed)
    killed = start(nearmiss, "killed")
    nearmiss.wait("a checkpoint", lambda: events(nearmiss, killed, "saved"))
    nearmiss.kill("app.web")
    state = nearmiss.wait("the web after its restart", lambda: run(nearmiss, killed))["state"]
    assert state == "running", "the run did not go on while the web restarted"
    nearmiss.kill("worker.job")
    finished(nearmiss, killed)
    assert any("resumed from step" in event["body"]["text"] for event in events(nearmiss, killed, "log"))
    assert weights(nearmiss, killed) == weights(nearmiss, undisturbed)


def test_run_queued_while_the_broker_is_dead_is_saved_and_trains_by_itself(nearmiss):
    nearmiss.kill("valkey-server")
    queued = start(nearmiss, "no broker", max_steps=2)
    assert run(nearmiss, queued)["state"] in ("queued", "claimed", "running")
    finished(nearmiss, queued)


def test_whole_worker_killed_is_started_again_and_takes_its_run_up(nearmiss):
    killed = start(nearmiss, "worker killed", max_steps=30)
    nearmiss.wait("a checkpoint", lambda: events(nearmiss, killed, "saved"))
    nearmiss.kill("-Q gpu")
    finished(nearmiss, killed)
    assert any("resumed from step" in event["body"]["text"] for event in events(nearmiss, killed, "log"))


def test_cancelled_run_stops_and_can_be_resumed(nearmiss):
    stopped = start(nearmiss, "cancelled")
    nearmiss.wait("a step", lambda: events(nearmiss, stopped, "step"))
    nearmiss.post(f"/api/runs/{stopped}/pause")
    nearmiss.wait("the pause", lambda: run(nearmiss, stopped)["state"] == "paused")
    nearmiss.post(f"/api/runs/{stopped}/resume")
    nearmiss.wait("the second start", lambda: run(nearmiss, stopped)["state"] == "running")
    nearmiss.post(f"/api/runs/{stopped}/cancel")
    nearmiss.wait("the end", lambda: run(nearmiss, stopped)["state"] == "cancelled", timeout_s=20)
