"""clipcore builds as a distribution of its own, holds all its modules, and imports without the application."""

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_wheel_holds_clipcore_whole_and_nothing_else(tmp_path):
    source = tmp_path / "clipcore"
    shutil.copytree(ROOT / "clipcore", source, ignore=shutil.ignore_patterns("__pycache__"))
    build = [sys.executable, "-c", "from setuptools.build_meta import build_wheel; print(build_wheel('..'))"]
    done = subprocess.run(build, cwd=source, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-2000:]
    wheel = next(tmp_path.glob("clipcore-*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        names = [n for n in archive.namelist() if ".dist-info/" not in n]
        archive.extractall(tmp_path / "site")
    ours = {p.relative_to(ROOT).as_posix() for p in (ROOT / "clipcore").rglob("*.py")} | {"clipcore/py.typed"}
    assert set(names) == ours
    code = "import clipcore, sys; clipcore.fine_tune, clipcore.PairLabels; import clipcore.mining; print(clipcore.__file__)"
    code += "; assert not {'app', 'worker', 'gradio', 'celery', 'sqlalchemy'} & set(sys.modules)"
    env = {"PYTHONPATH": str(tmp_path / "site"), "PATH": ""}
    alone = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path / "site", env=env, capture_output=True, text=True
    )
    assert alone.returncode == 0, alone.stderr
    assert str(tmp_path / "site") in alone.stdout
