"""Collects what the report of a run shows."""

from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version

from sqlalchemy import select
from sqlalchemy.orm import Session

from app.actions.compare_runs import MOST_RUNS, arms_of, compare_runs, gains_of_run
from app.actions.view_run import EventView, page_of_events, view_run
from app.media.store import MediaStore
from app.report.write_report import ReportData, write_report
from app.store.database import settings_of
from app.store.models import Image
from app.store.reads.captions import captions_of_looks
from app.store.reads.previews import Previews, previews
from app.store.reads.runs import get_run

MOST_EVENTS = 20_000


def report_of_run(session: Session, *, run_id: int) -> str:
    """The HTML file; with the other arms, where the run is one of a comparison. Raises NotFound."""
    run, job = get_run(session, run_id)
    shown = previews(session, run)
    events = page_of_events(session, job, after=0, limit=MOST_EVENTS).events
    arms = arms_of(session, run)
    data = ReportData(
        run=view_run(session, run, job),
        events=[asdict(event) for event in events],
        previews=asdict(shown),
        captions=captions_of_looks(session, job.id),
        gains=[asdict(gain) for gain in gains_of_run(session, run)],
        comparison=asdict(compare_runs(session, run_ids=arms[:MOST_RUNS])) if len(arms) > 1 else None,
        written_at=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        version=version("nearmiss"),
    )
    store = MediaStore(settings_of(session).resolved_media_url)
    return write_report(data, store=store, sha256=_pictures(session, shown, events))


def _pictures(session: Session, shown: Previews, events: list[EventView]) -> dict[int, str]:
    ids = {probe.image_id for probe in shown.probes}
    ids |= {result.image_id for probe in shown.probes for result in (*probe.before, *probe.now)}
    ids |= {int(id_) for event in events if event.kind == "batch" for id_ in event.body["image_ids"]}
    known = select(Image.id, Image.sha256).where(Image.id.in_(ids - {None}), Image.erased_at.is_(None))
    return {row[0]: row[1] for row in session.execute(known)}
