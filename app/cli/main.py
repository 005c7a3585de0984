"""`nearmiss`: start it, fill it, look after it. Imports stay light: each command brings its own."""

import os
import sys

import typer

from app.cli.gpus import visible_gpus
from app.cli.runs import runs
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
def worker(
    queue: str,
    gpus: str = typer.Option("", help="the GPUs of this worker, as in 0 or 0,1; default: those it sees"),
) -> None:
    """Start one worker for the queue gpu, cpu or search. On a machine with several GPUs start one for each."""
    if queue not in ("gpu", "cpu", "search"):
        raise NearmissError(f"there is no queue {queue!r}; use gpu, cpu or search")
    module = "worker.search" if queue == "search" else "worker.celery_app"
    os.environ["NEARMISS_QUEUE"] = queue
    if queue == "gpu" and (own := gpus or ",".join(visible_gpus())):
        os.environ["CUDA_VISIBLE_DEVICES"] = own  # the worker tells by it how many processes it has room for
    options = ["-Q", queue, "-P", "solo", "-l", "warning", "-n", f"{queue}-{os.getpid()}@%h"]
    extra = ["--without-gossip", "--without-mingle"]
    os.execv(sys.executable, [sys.executable, "-m", "celery", "-A", module, "worker", *options, *extra])


@cli.command()
def backup(
    to: str,
    media: bool = typer.Option(True, help="pictures, vectors and checkpoints too"),
) -> None:
    """Write database and media into one new .tar; Nearmiss may go on running."""
    from app.cli.backup import run_backup

    run_backup(to, media=media)


@cli.command()
def restore(source: str) -> None:
    """Bring a backup into an empty database, SQLite or Postgres, whichever it came from."""
    from app.cli.backup import run_restore

    run_restore(source)


@cli.command()
def migrate(to: str = typer.Option("head", help="a version, for going back")) -> None:
    """Bring the database's tables to this program's version, or back to an older one."""
    from app.media.lift import lift_second_level
    from app.settings import get_settings
    from app.store.database import Database
    from app.store.schema import migrate as migrate_engine

    settings = get_settings()
    settings.home.mkdir(parents=True, exist_ok=True)
    migrate_engine(Database(settings).engine, to)
    lift_second_level(settings.resolved_media_url)


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
    model: str = typer.Option(
        "",
        help="name of the model that looks; default: the newest that knows the data set, else the newest base model",
    ),
    language: str = typer.Option(
        "auto", help="in which negatives are written: en, de, fr or es; default: the captions'"
    ),
    wait: bool = typer.Option(True, help="stay until it is done"),
) -> None:
    """Look for suggestions: verdicts stay, other models' open suggestions leave, disputed verdicts come back."""
    from app.cli.mine import run

    run(data_set, model=model, language=language, wait=wait)


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


@cli.command("export-verdicts")
def export_verdicts(
    data_set: str,
    to: str = typer.Option(..., help="the file to write"),
    format: str = typer.Option("jsonl", help="jsonl, parquet, csv, triplet, labeled-pair or n-tuple"),
    num_negatives: int = typer.Option(3, min=1, max=20, help="negatives a row of n-tuple"),
) -> None:
    """Write the standing verdicts: jsonl, parquet and csv come back exactly with import-verdicts."""
    from app.cli.verdicts import export_verdicts as run

    run(data_set, to, format=format, num_negatives=num_negatives)


@cli.command("import-verdicts")
def import_verdicts(
    data_set: str,
    source: str,
    image: str = typer.Option("", help="the column of the picture's name"),
    caption: str = typer.Option("", help="the column of the caption"),
    verdict: str = typer.Option("", help="the column of the verdict"),
    confidence: str = typer.Option("", help="the column of the confidence"),
    person: str = typer.Option("", help="the column of the person"),
    time: str = typer.Option("", help="the column of the time"),
    word: list[str] = typer.Option([], help="what a word of another tool means: good=match"),  # noqa: B008  typer's way
) -> None:
    """Take verdicts over from JSONL, Parquet, CSV or TSV of this or another tool."""
    from app.cli.verdicts import import_verdicts as run

    columns = {"image": image, "caption": caption, "verdict": verdict}
    columns |= {"confidence": confidence, "person": person, "time": time}
    run(data_set, source, columns={role: c for role, c in columns.items() if c}, words=word)


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
def invite(
    role: str = typer.Option("annotator", help="viewer, annotator or admin"),
    data_set: int = typer.Option(0, help="the id of the only data set it opens; 0: all"),
) -> None:
    """Print a link that makes one account, once, within a week."""
    from app.cli.people import run_invite

    run_invite(role, data_set or None)


@cli.command()
def token(
    person: str,
    role: str = typer.Option("viewer", help="what it may at most: viewer, annotator or admin"),
    days: int = typer.Option(30, help="how long it is valid"),
    data_set: int = typer.Option(0, help="the id of the only data set it opens; 0: all of the person's"),
    name: str = typer.Option("a program", help="what it is for"),
) -> None:
    """Print a new token of a person, for programs: it is shown this one time."""
    from app.cli.people import run_token

    run_token(person, role=role, days=days, data_set_id=data_set or None, name=name or "command line")


@cli.command("set-password")
def set_password(
    person: str,
    password: str = typer.Option(..., prompt=True, hide_input=True, confirmation_prompt=True),
) -> None:
    """Give a person a new password; their sessions and tokens end."""
    from app.cli.people import run_set_password

    run_set_password(person, password)


@cli.command()
def doctor() -> None:
    """Say what is there and what is missing: broker, database, workers, GPU, model cache, disk."""
    from app.cli.doctor import run

    raise typer.Exit(run())


@cli.command(
    context_settings={"allow_extra_args": True, "ignore_unknown_options": True, "help_option_names": []}
)
def finetune(context: typer.Context) -> None:
    """Fine-tune from a YAML file: on a snapshot here (a run's folder, --data-set or --snapshot), or with --pairs on files."""
    from app.cli.finetune import run

    run(context.args)


cli.add_typer(runs, name="runs")


@cli.command()
def gc(dry_run: bool = typer.Option(False, help="say what would go, delete nothing")) -> None:
    """Delete media that no row names, and checkpoints of runs that stopped long ago."""
    from app.cli.gc import run

    run(dry_run=dry_run)


@cli.command()
def erase(
    what: str, item_id: int, yes: bool = typer.Option(False, prompt="There is no undo. Erase it?")
) -> None:
    """Erase an image or a caption for good: nearmiss erase image 12."""
    from app.cli.gc import erase as erase_it

    if yes:
        erase_it(what, item_id)


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
