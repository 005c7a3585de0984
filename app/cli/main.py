"""`nearmiss`: up, web, worker, alive, migrate, import, add-model, finetune, doctor, version. Imports stay light: each command brings its own."""

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
def web() -> None:
    """Start the web process alone: page and routes."""
    os.execv(sys.executable, [sys.executable, "-m", "app.web"])


@cli.command()
def alive(what: str) -> None:
    """Exit 0 when this machine's web process answers, or its worker for the queue gpu, cpu or search was heard lately."""
    from app.cli.alive import run

    raise typer.Exit(0 if run(what) else 1)


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
def import_(
    source: str,
    name: str = typer.Option("", help="name of the new data set"),
    image: str = typer.Option("", help="the column of the picture"),
    caption: str = typer.Option("", help="the column of the caption"),
    split: str = typer.Option("", help="the column of the split"),
    in_place: bool = typer.Option(False, help="leave originals where they are instead of copying them"),
    again: bool = typer.Option(False, help="import a changed source into the data set of that name"),
    model: str = typer.Option("", help="the model that made the embeddings of a clip-retrieval folder"),
    preview: bool = typer.Option(False, help="show columns and first rows, import nothing"),
    wait: bool = typer.Option(True, help="stay until it is done"),
) -> None:
    """Import a folder, CSV, TSV, JSONL, Parquet, .tar shards, COCO's JSON or hf:OWNER/NAME; a running worker does it."""
    from app.cli import import_

    columns = {"image": image, "caption": caption, "split": split}
    columns = {role: column for role, column in columns.items() if column}
    if preview:
        import_.preview(source, columns)
        return
    import_.run(source, name, columns=columns, in_place=in_place, again=again, model=model, wait=wait)


@cli.command()
def mine(
    data_set: str,
    model: str = typer.Option("", help="name of the model that looks; default: the newest"),
    wait: bool = typer.Option(True, help="stay until it is done"),
) -> None:
    """Look for suggestions: verdicts stay, other models' open suggestions leave, disputed verdicts come back."""
    from app.cli.mine import run

    run(data_set, model=model, wait=wait)


@cli.command()
def export(
    data_set: str,
    to: str = typer.Option(..., help="a new or empty folder"),
    format: str = typer.Option("parquet", help="parquet, tsv, webdataset or sentence-transformers"),
    snapshot: str = typer.Option(
        "", help="the first characters of a snapshot's hash; default: the present state"
    ),
) -> None:
    """Write a snapshot with its pictures: for open_clip, webdataset, sentence-transformers, or as Parquet."""
    from app.cli.export import run

    run(data_set, to, format=format, snapshot=snapshot)


@cli.command("add-model")
def add_model(
    location: str,
    name: str = typer.Option("", help="name in the page; default: the location"),
    pretrained: str = typer.Option("", help="open_clip's tag or a weights file"),
) -> None:
    """Add a base model: ViT-B-32 --pretrained laion2b_s34b_b79k, hf-hub:OWNER/NAME or local-dir:FOLDER."""
    from app.actions.add_model import add_model as add
    from app.settings import get_settings
    from app.store.database import Database

    with Database(get_settings()).transaction() as session:
        add(
            session, name=name or f"{location} {pretrained}".strip(), location=location, pretrained=pretrained
        )


@cli.command("add-person")
def add_person(
    name: str,
    role: str = typer.Option("annotator", help="viewer, annotator or admin"),
    password: str = typer.Option(..., prompt=True, hide_input=True, confirmation_prompt=True),
) -> None:
    """Add an account. The first must be an admin's; from then on everybody has to log in."""
    from app.actions.accounts import add_person as add
    from app.actions.accounts import anybody
    from app.settings import get_settings
    from app.store.database import Database

    with Database(get_settings()).transaction() as session:
        if role != "admin" and not anybody(session):
            raise NearmissError("the first account must be an admin's; add --role admin")
        add(session, name=name, role=role, password=password)  # type: ignore[arg-type]  # add_person checks


@cli.command()
def doctor() -> None:
    """Say what is there and what is missing: broker, database, workers, GPU, model cache, disk."""
    from app.cli.doctor import run

    raise typer.Exit(run())


@cli.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def finetune(context: typer.Context) -> None:
    """Fine-tune from a YAML file without database or page: nearmiss finetune run.yaml --pairs pairs.tsv."""
    os.execv(sys.executable, [sys.executable, "-m", "clipcore", *context.args])


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
