"""How `nearmiss up` ends: a job may save, nothing is left behind, and a second Ctrl+C waits no longer."""

import sys
import threading
import time
from pathlib import Path

import pytest

import app.cli.up as up

SAVES = "import signal,sys,time; signal.signal(15, lambda *_: (time.sleep({s}), open({done!r}, 'w'), sys.exit(0))); open({up!r}, 'w'); time.sleep(600)"
STARTS = "import subprocess,sys,signal,time; signal.signal(15, signal.SIG_IGN); p = subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(600)']); open({up!r}, 'w').write(str(p.pid)); time.sleep(600)"


def begin(children: up.Children, name: str, program: str, ready: Path) -> None:
    children.start(name, [sys.executable, "-c", program])
    give_up = time.monotonic() + 60
    while not ready.exists() or not ready.stat().st_mode:
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_worker_that_saves_is_waited_for_with_a_sentence(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(up, "STOP_S", 0.5)
    monkeypatch.setattr(up, "SAY_AFTER_S", 0.2)
    children, done, ready = up.Children(tmp_path), tmp_path / "done", tmp_path / "ready"
    begin(children, "gpu", SAVES.format(s=2, done=str(done), up=str(ready)), ready)
    children.stop()
    assert done.exists(), "it was killed while it saved"
    assert "waiting for gpu" in capsys.readouterr().out


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc tells what a worker has started")
def test_a_second_ctrl_c_leaves_no_process_of_a_worker(tmp_path):
    children, ready = up.Children(tmp_path), tmp_path / "ready"
    begin(children, "gpu", STARTS.format(up=str(ready)), ready)
    while not (text := ready.read_text()):
        time.sleep(0.05)
    threading.Timer(0.5, children.hurry).start()
    children.stop()
    status = Path(f"/proc/{text}/stat")
    assert not status.exists() or status.read_text().rsplit(")", 1)[1].split()[0] == "Z"
