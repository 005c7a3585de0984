"""`/metrics` for Prometheus: what this process saw, and at each call what the database knows."""

from collections.abc import Iterator

from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import func, select
from starlette.responses import Response

from app.api.access import SERVER_ADMIN
from app.jobs.expire import SILENT
from app.jobs.presence import connected
from app.store.database import Database
from app.store.models import Event, Job, Verdict

router = APIRouter()
BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.3, 1.0, 3.0, 10.0)


class Metrics:
    """The numbers of one application."""

    def __init__(self, database: Database) -> None:
        self.registry = CollectorRegistry()
        labels = ("method", "route")
        name, said = "nearmiss_request_duration_seconds", "duration of requests by route pattern"
        self._durations = Histogram(name, said, labels, buckets=BUCKETS_S, registry=self.registry)
        name, said = "nearmiss_requests", "requests by route pattern and status class"
        self._requests = Counter(name, said, (*labels, "status"), registry=self.registry)
        self.registry.register(FromDatabase(database))

    def saw(self, route: str, method: str, status: int, duration_s: float) -> None:
        """Count one request."""
        method = method if method in ("GET", "HEAD", "POST", "PUT", "DELETE") else "other"
        self._durations.labels(method, route).observe(duration_s)
        self._requests.labels(method, route, f"{status // 100}xx").inc()


class FromDatabase(Collector):
    """Jobs by queue and state, workers, verdicts, lost leases; the rate of a counter is Prometheus's to tell."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def describe(self) -> list[Metric]:
        """Nothing is read at registration."""
        return []

    def collect(self) -> Iterator[Metric]:
        """One reading of the database."""
        jobs = GaugeMetricFamily(
            "nearmiss_jobs", "jobs by kind, queue and state", labels=["kind", "queue", "state"]
        )
        waiting = GaugeMetricFamily("nearmiss_queue_length", "jobs that wait for a worker", labels=["queue"])
        workers = GaugeMetricFamily("nearmiss_workers", "workers heard from lately", labels=["queue"])
        with self._database.reading() as session:
            counts = select(Job.kind, Job.queue, Job.state, func.count()).group_by(
                Job.kind, Job.queue, Job.state
            )
            length = {"gpu": 0, "cpu": 0}
            for kind, queue, state, count in session.execute(counts):
                jobs.add_metric([kind, queue, state], count)
                length[queue] = length.get(queue, 0) + (count if state == "queued" else 0)
            for queue, number in length.items():
                waiting.add_metric([queue], number)
            alive = [worker.queue for worker in connected(session)]
            for queue in ("gpu", "cpu", "search"):
                workers.add_metric([queue], alive.count(queue))
            verdicts = (
                session.scalar(select(func.max(Verdict.id))) or 0
            )  # append-only: the last id counts them
            again = select(Job.id).where(
                Job.token > 1
            )  # a job claimed once has lost no lease: few rows are read
            lost = (
                select(func.count()).select_from(Event).where(Event.job_id.in_(again), Event.kind == "state")
            )
            said = Event.body["reason"].as_string()
            num_lost = session.scalar(lost.where(said.contains(SILENT))) or 0
        yield from (jobs, waiting, workers)
        yield CounterMetricFamily("nearmiss_verdicts", "verdicts and undos saved", value=verdicts)
        yield CounterMetricFamily("nearmiss_lease_losses", "leases that ran out under a job", value=num_lost)


@router.get("/metrics", dependencies=[SERVER_ADMIN])
def metrics(request: Request) -> Response:
    """In Prometheus's text form; with accounts, for an admin's token."""
    found: Metrics = request.app.state.metrics
    return Response(generate_latest(found.registry), media_type=CONTENT_TYPE_LATEST)
