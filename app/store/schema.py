"""The schema's version: migrate to the newest, refuse one that is newer than this program."""

from functools import lru_cache
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, text
from sqlalchemy.exc import DBAPIError

from app.errors import NearmissError

MIGRATIONS = Path(__file__).resolve().parents[2] / "migrations"


LOCK = 7_305_441_226_118  # an arbitrary number of ours in Postgres's space of advisory locks


def migrate(engine: Engine, to: str = "head") -> None:
    """Bring the tables to a version, the newest by default, forward or back; nothing happens when they are there.

    Of several at once one works and the others wait for it (an advisory lock, SQLite's write lock). All or nothing.
    Raises NearmissError for a database that is newer than this program, and for a version that does not exist.
    """
    if _version(engine) is not None:
        _refuse_newer(engine)
    order = [script.revision for script in _scripts().walk_revisions()][::-1]
    if to not in ("head", *order):
        raise NearmissError(f"there is no version {to!r}; use one of {order[0]} to {order[-1]}")
    config = _config()
    with engine.execution_options(nearmiss_begin="BEGIN IMMEDIATE").begin() as connection:
        if connection.dialect.name == "postgresql":
            connection.execute(text("select pg_advisory_xact_lock(:lock)"), {"lock": LOCK})
        config.attributes["connection"] = connection
        now = MigrationContext.configure(connection).get_current_revision()
        back = to != "head" and now is not None and order.index(now) > order.index(to)
        (command.downgrade if back else command.upgrade)(config, to)


def check(engine: Engine) -> None:
    """Raises NearmissError unless the tables are at the version that this program knows."""
    version = _version(engine)
    if version is None:
        raise NearmissError("the database has no tables yet; run `nearmiss migrate`")
    _refuse_newer(engine)
    if version != (head := _known_versions()[0]):
        raise NearmissError(
            f"the database is at version {version}, and this program needs {head}; run `nearmiss migrate`"
        )


def why_no_answer(engine: Engine) -> str:
    """Why a statement failed that should not: the tables are of another version, or the database is away."""
    try:
        check(engine)
    except NearmissError as error:
        return str(error)
    except DBAPIError:
        pass
    return "the database went away"


def version_of(engine: Engine) -> str | None:
    """The version of the tables; None: there are none."""
    return _version(engine)


def _refuse_newer(engine: Engine) -> None:
    version = _version(engine)
    if version not in _known_versions():
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


@lru_cache(maxsize=1)
def _known_versions() -> list[str]:
    """Newest first; read once, because strangers may ask `/readyz` as often as they like."""
    return [script.revision for script in _scripts().walk_revisions()]


def _scripts() -> ScriptDirectory:
    return ScriptDirectory.from_config(_config())
