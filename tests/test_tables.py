"""The pages' tables are what the committed results say."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def load():
    spec = importlib.util.spec_from_file_location("make_tables", ROOT / "docs/make_tables.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("page", ["performance.md", "evidence.md"])
def test_tables_are_what_the_results_say(page):
    written = (ROOT / "docs" / page).read_text(encoding="utf-8")
    make_tables = load()
    assert make_tables.BLOCK.search(written), "the page has lost its marks"
    assert make_tables.filled(written) == written, "run python docs/make_tables.py"


def test_a_changed_figure_changes_the_page(monkeypatch):
    make_tables = load()
    found = make_tables.result("desk")
    found["figures"]["key_to_paint_p50_ms"] = 987.0
    monkeypatch.setattr(make_tables, "result", lambda name: found)
    assert "987" in make_tables.filled("<!-- table desk -->\n<!-- end -->")
