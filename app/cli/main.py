"""`nearmiss`: up, worker, migrate, import, version. Imports stay light: each command brings its own."""

import os
import sys

import typer

from app.errors import NearmissError

cli = typer.Typer(
    no_args_is_help=True, add_completion=False, help="Curate the negatives that CLIP learns from."
)


@cli.command()
def up() -> None:
    """Start broker, web and workers, import the demo at first, and stop all of them with Ctrl+C."""
    from app.cli.up import run

    run()


@cli.command()
def worker(queue: str) -> None:
    """Start one worker for the queue gpu, cpu or search."""
    if queue not in ("gpu", "cpu", "search"):
        raise NearmissError(f"there is no queue {queue!r}; use gpu, cpu or search")
    module = "worker.search" if queue == "search" else "worker.celery_app"
    os.environ["NEARMISS_QUEUE"] = queue
    options = ["-Q", queue, "-P", "solo", "-l", "warning", "-n", f"{queue}-{os.getpid()}@%h"]
    extra = ["--without-gossip", "--without-mingle"]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", module, "worker", *options, *extra])


@cli.command()
def migrate() -> None:
    """Bring the database's tables to this program's version."""
    from app.settings import get_settings
    from app.store.database import Database
    from app.store.schema import migrate as migrate_engine

    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate_engine(Database(settings).engine)


@cli.command("import")
def import_(source: str, name: str = typer.Option(..., help="name of the new data set")) -> None:
    """Queue the import of a folder or file; a running worker does it."""
    from pathlib import Path

    from app.actions.import_data_set import import_data_set
    from app.settings import get_settings
    from app.store.database import Database

    settings = get_settings()
    path = source if source == "demo" else str(Path(source).expanduser().resolve())
    with Database(settings).transaction() as session:
        job = import_data_set(session, name=name, source=path, person=settings.person)
        typer.echo(f"job {job.id} is queued; its progress is in the Data tab")


@cli.command()
def version() -> None:
    """Print the version."""
    from importlib.metadata import version as installed

    typer.echo(installed("nearmiss"))


def main() -> None:
    """The console script: what a person can cause is one sentence, not a traceback."""
    try:
        cli()
    except NearmissError as error:
        typer.echo(f"nearmiss: {error}", err=True)
        sys.exit(1)


if __name__ == "__main__":
    main()
