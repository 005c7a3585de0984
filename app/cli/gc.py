"""`nearmiss gc` and `nearmiss erase`: what goes from the disk."""

import typer

from app.actions.collect_garbage import collect, find_garbage, used_bytes
from app.actions.erase import erase_caption, erase_image
from app.counted import counted
from app.errors import NearmissError
from app.settings import get_settings
from app.store.database import Database
from app.store.schema import check

QUOTED = 20


def run(*, dry_run: bool) -> None:
    """Says what goes, or would go, and what is used."""
    settings = get_settings()
    database = Database(settings)
    check(database.engine)
    with database.reading() if dry_run else database.transaction() as session:
        garbage = find_garbage(session)
        for one in garbage[:QUOTED]:
            typer.echo(f"{one.num_bytes / 1e6:>9.1f} MB  {one.key}  ({one.reason})")
        if len(garbage) > QUOTED:
            typer.echo(f"… and {len(garbage) - QUOTED} more")
        total = sum(one.num_bytes for one in garbage) if dry_run else collect(session, garbage)
    said = "would become free" if dry_run else "became free"
    quota = f" of {settings.quota_gb:g} GB" if settings.quota_gb else ""
    typer.echo(f"{total / 1e6:.1f} MB {said}; {used_bytes(settings) / 1e9:.2f} GB{quota} are used")


def erase(what: str, item_id: int) -> None:
    """`what`: image or caption."""
    acts = {"image": lambda s: erase_image(s, image_id=item_id)}
    acts["caption"] = lambda s: erase_caption(s, caption_id=item_id)
    if what not in acts:
        raise NearmissError(f"only an image or a caption can be erased, not {what!r}")
    database = Database(get_settings())
    check(database.engine)
    with database.transaction() as session:
        erased = acts[what](session)
    typer.echo(
        f"erased {counted(erased.num_rows, what)}; {counted(erased.num_pairs, 'pair')} left,"
        f" {counted(erased.num_snapshots, 'snapshot says', 'snapshots say')} so"
    )
