"""A backup comes back whole, also from SQLite to Postgres; a damaged one is refused before anything is written.
Migrations go back and forward with rows in the tables, and only one of several at once works."""

import tarfile
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from sqlalchemy import func, select, text

from app.actions.decide import Decision, decide
from app.cli import backup
from app.errors import Conflict, NearmissError
from app.media.store import MediaStore
from app.settings import Settings
from app.store.database import Database
from app.store.dump import tables_of
from app.store.models import Pair, Verdict
from app.store.schema import check, migrate, version_of

UUID = "6f1c2a34-0000-4000-8000-000000000001"


def _rows(database: Database) -> dict[str, list[dict[str, object]]]:
    """All rows, times as texts of one zone."""
    with database.engine.connect() as connection:
        return {
            table.name: [
                {k: str(v)[:19] if "_at" in k and not isinstance(v, float) else v for k, v in row.items()}
                for row in connection.execute(select(table).order_by(*table.primary_key.columns)).mappings()
            ]
            for table in tables_of(connection)
        }


@pytest.fixture
def filled(seeded: Database) -> Database:
    """With a verdict, a text that is hard to write down, and a file in the media store."""
    with seeded.transaction() as session:
        decide(session, decisions=[Decision(UUID, 1, 2, "match")], person='Ana "é"\u202e\n')
    MediaStore(seeded.settings.resolved_media_url).put(b"picture", kind="files")
    return seeded


@pytest.fixture
def use(monkeypatch: pytest.MonkeyPatch) -> Callable[[Settings], None]:
    return lambda settings: monkeypatch.setattr(backup, "get_settings", lambda: settings)


def test_a_backup_comes_back_into_an_empty_home(
    filled: Database, use: Callable[[Settings], None], tmp_path: Path
) -> None:
    to = tmp_path / "b.tar"
    use(filled.settings)
    backup.run_backup(str(to), media=True)
    assert to.stat().st_mode & 0o077 == 0
    with pytest.raises(NearmissError, match="name a new file"):
        backup.run_backup(str(to), media=True)
    with pytest.raises(Conflict, match="holds rows already"):
        backup.run_restore(str(to))
    elsewhere = Settings(home=tmp_path / "new")
    use(elsewhere)
    backup.run_restore(str(to))
    restored = Database(elsewhere)
    check(restored.engine)
    assert _rows(restored) == _rows(filled)
    store = MediaStore(elsewhere.resolved_media_url)
    assert [store.get(key) for key in store.all_keys()] == [b"picture"]
    with restored.transaction() as session:  # ids go on behind the highest
        decide(session, decisions=[Decision(UUID[:-1] + "2", 1, 3, "match")], person="Ana")


def test_a_laptops_backup_moves_to_postgres(
    filled: Database, use: Callable[[Settings], None], tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    if filled.engine.dialect.name != "postgresql":
        pytest.skip("the other parameter starts from Postgres and returns to it")
    to, back = tmp_path / "b.tar", tmp_path / "c.tar"
    use(filled.settings)
    backup.run_backup(str(to), media=False)
    laptop = Settings(home=tmp_path / "laptop")
    use(laptop)
    backup.run_restore(str(to))
    backup.run_backup(str(back), media=False)
    before = _rows(filled)
    with filled.engine.begin() as connection:
        connection.execute(text("drop schema public cascade"))
        connection.execute(text("create schema public"))
    use(filled.settings)
    backup.run_restore(str(back))
    assert _rows(filled) == before
    with filled.transaction() as session:
        decide(session, decisions=[Decision(UUID[:-1] + "2", 1, 3, "match")], person="Ana")
        assert session.scalar(select(func.max(Verdict.id))) == 2


def test_a_damaged_or_foreign_backup_is_refused_before_anything_is_written(
    filled: Database, use: Callable[[Settings], None], tmp_path: Path
) -> None:
    to, empty = tmp_path / "b.tar", Settings(home=tmp_path / "new")
    use(filled.settings)
    backup.run_backup(str(to), media=True)
    use(empty)
    whole = to.read_bytes()
    at = whole.index(b"picture")
    hostile = tmp_path / "hostile.tar"
    with tarfile.open(hostile, "w") as archive:
        archive.addfile(tarfile.TarInfo("../../etc/passwd"))
    for name, content in {
        "flipped": whole[:at] + b"P" + whole[at + 1 :],
        "cut": whole[: len(whole) // 2],
        "text": b"hello",
        "hostile": hostile.read_bytes(),
    }.items():
        damaged = tmp_path / f"{name}.tar"
        damaged.write_bytes(content)
        with pytest.raises(NearmissError):
            backup.run_restore(str(damaged))
    assert not (tmp_path / "new").exists()


def test_migrations_go_back_and_forward_with_rows_in_the_tables(filled: Database) -> None:
    newest = version_of(filled.engine)
    with filled.reading() as session:
        before = [session.scalar(select(func.count()).select_from(t)) for t in (Pair, Verdict)]
    migrate(filled.engine, to="0001")
    assert version_of(filled.engine) == "0001"
    with pytest.raises(NearmissError, match="nearmiss migrate"):
        check(filled.engine)
    migrate(filled.engine)
    assert version_of(filled.engine) == newest
    with filled.reading() as session:
        assert [session.scalar(select(func.count()).select_from(t)) for t in (Pair, Verdict)] == before
    with pytest.raises(NearmissError, match="there is no version"):
        migrate(filled.engine, to="0000")


def test_several_at_once_migrate_an_empty_database_once(settings: Settings) -> None:
    errors: list[BaseException] = []

    def one() -> None:
        database = Database(settings)
        try:
            migrate(database.engine)
            check(database.engine)
        except BaseException as error:
            errors.append(error)
        finally:
            database.close()

    threads = [threading.Thread(target=one) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
