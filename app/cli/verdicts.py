"""`nearmiss export-verdicts` and `nearmiss import-verdicts`."""

from itertools import islice
from pathlib import Path
from uuid import uuid4

import typer
from sqlalchemy import select

from app.actions.import_verdicts import BATCH, Taken, import_batch
from app.actions.verdict_files import write_verdicts
from app.counted import counted
from app.errors import NearmissError
from app.settings import get_settings
from app.sources.verdicts import read_verdicts
from app.store.database import Database
from app.store.models import DataSet
from app.store.schema import check


def export_verdicts(data_set: str, to: str, *, format: str, num_negatives: int) -> None:
    """Raises NearmissError."""
    database, data_set_id = _open(data_set)
    with database.reading() as session, Path(to).expanduser().open("wb") as file:
        pieces = write_verdicts(session, data_set_id, format=format, num_negatives=num_negatives)  # type: ignore[arg-type]  # checked there
        num_bytes = sum(file.write(piece) for piece in pieces)
    typer.echo(f"{num_bytes:,} bytes in {to}")


def import_verdicts(data_set: str, source: str, *, columns: dict[str, str], words: list[str]) -> None:
    """Raises NearmissError."""
    database, data_set_id = _open(data_set)
    meanings = {}
    for word in words:
        name, sign, answer = word.partition("=")
        if not sign:
            raise NearmissError(f"--word is {word!r}; write WORD=ANSWER, such as good=match")
        meanings[name] = answer
    path = Path(source).expanduser()
    if not path.is_file():
        raise NearmissError(f"there is no file {source!r}; check the path")
    rows = read_verdicts(path, columns=columns, words=meanings)
    taken, bulk_id, person = Taken(), str(uuid4()), database.settings.person
    while batch := list(islice(rows, BATCH)):
        with database.transaction() as session:
            import_batch(session, data_set_id, rows=batch, person=person, bulk_id=bulk_id, taken=taken)
    typer.echo(
        f"{counted(taken.num_new, 'verdict is', 'verdicts are')} new, {taken.num_same} stood already,"
        f" {counted(taken.num_rejected, 'row was', 'rows were')} refused"
    )
    for line in taken.rejected[:10]:
        typer.echo(f"  refused: {line}")


def _open(data_set: str) -> tuple[Database, int]:
    database = Database(get_settings())
    check(database.engine)
    with database.reading() as session:
        data_set_id = session.scalar(select(DataSet.id).where(DataSet.name == data_set))
    if data_set_id is None:
        raise NearmissError(f"there is no data set {data_set!r}; look in the page's Data tab")
    return database, data_set_id
