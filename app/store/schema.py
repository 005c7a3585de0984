"""The schema's version: migrate to the newest, refuse one that is newer than this program."""

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine

from app.errors import NearmissError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


def migrate(engine: Engine) -> None:
    """Bring the tables to the newest version; nothing happens when they are there. Raises NearmissError."""
    if _version(engine) is not None:
        _refuse_newer(engine)
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def check(engine: Engine) -> None:
    """Raises NearmissError unless the tables are at the version that this program knows."""
    version = _version(engine)
    if version is None:
        raise NearmissError("the database has no tables yet; run `nearmiss migrate`")
    _refuse_newer(engine)
    if version != _scripts().get_current_head():
        raise NearmissError(f"the database is at version {version}, an older one; run `nearmiss migrate`")


def _refuse_newer(engine: Engine) -> None:
    version = _version(engine)
    known = {script.revision for script in _scripts().walk_revisions()}
    if version not in known:
        raise NearmissError(
            f"the database is at version {version}, which this program does not know;"
            " install the newer Nearmiss that wrote it, or name another database in NEARMISS_DATABASE_URL"
        )


def _version(engine: Engine) -> str | None:
    with engine.connect() as connection:
        return MigrationContext.configure(connection).get_current_revision()


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
