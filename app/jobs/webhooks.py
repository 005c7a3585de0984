"""Tells other programs that a run is over: one POST to each URL of `NEARMISS_WEBHOOKS`.

Guarded against being led into the private network: the name is looked up here, every address must be public, and the
connection goes to the address that was checked. Redirects are not followed. Allowed with NEARMISS_WEBHOOK_PRIVATE=true.
"""

import ipaddress
import json
import logging
import socket
import threading
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx
from sqlalchemy import select

from app.errors import NearmissError
from app.settings import Settings
from app.store.database import Database
from app.store.models import Job, Model, Run

log = logging.getLogger(__name__)
TRANSLATED = [ipaddress.ip_network(n) for n in ("64:ff9b::/96", "64:ff9b:1::/48")]
TRIES = 3
TIMEOUT_S = 10.0


def run_is_over(database: Database, job_id: int) -> threading.Thread | None:
    """Sends in a thread of its own where a URL is set and the job is a run; never raises."""
    urls = [url for url in database.settings.webhooks.split() if url]
    if not urls:
        return None
    with database.reading() as session:
        job = session.get(Job, job_id)
        run = session.scalar(select(Run).where(Run.job_id == job_id))
        if job is None or run is None:
            return None
        result = session.get(Model, run.result_model_id) if run.result_model_id else None
        body = {
            "event": "run_over",
            "run_id": run.id,
            "name": run.name,
            "data_set_id": run.data_set_id,
            "state": job.state,
            "reason": job.reason,
            "metrics_before": run.metrics_before,
            "metrics_after": run.metrics_after,
            "result_model": result.name if result else None,
        }
    thread = threading.Thread(target=_send_all, args=(database.settings, urls, body), name="webhooks")
    thread.start()  # no daemon: a job's process waits for it before it ends
    return thread


def post(settings: Settings, url: str, body: Mapping[str, Any]) -> int:
    """The status of one POST. Raises NearmissError for an address that may not be reached, httpx.HTTPError."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    if parts.scheme not in ("http", "https") or not host or parts.username:
        raise NearmissError(f"{url[:100]!r} is no http(s) address of a webhook; correct NEARMISS_WEBHOOKS")
    address = checked_address(host, port, private=settings.webhook_private)
    netloc = f"[{address}]:{port}" if ":" in address else f"{address}:{port}"
    pinned = urlunsplit((parts.scheme, netloc, parts.path or "/", parts.query, ""))
    with httpx.Client(timeout=TIMEOUT_S, follow_redirects=False, trust_env=False) as client:
        answer = client.post(
            pinned,
            content=json.dumps(body, default=str),
            headers={"Host": parts.netloc, "Content-Type": "application/json", "User-Agent": "nearmiss"},
            extensions={"sni_hostname": host},
        )
    if answer.is_redirect:
        raise NearmissError(f"{host} redirects, which webhooks do not follow; name the final address")
    return answer.status_code


def checked_address(host: str, port: int, *, private: bool) -> str:
    """The address that the name stands for now. Raises NearmissError unless all of them are public (or `private`)."""
    try:
        found = {str(info[4][0]) for info in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)}
    except (OSError, UnicodeError):
        raise NearmissError(f"the webhook's host {host!r} is not known; correct NEARMISS_WEBHOOKS") from None
    if not private and not all(_is_public(address) for address in found):
        raise NearmissError(
            f"the webhook's host {host!r} is in a private network; set NEARMISS_WEBHOOK_PRIVATE=true to allow it"
        )
    return sorted(found)[0]


def _is_public(address: str) -> bool:
    one = ipaddress.ip_address(address.partition("%")[0])
    inner = getattr(one, "ipv4_mapped", None) or getattr(one, "sixtofour", None) or one
    if isinstance(one, ipaddress.IPv6Address) and any(one in network for network in TRANSLATED):
        return False  # NAT64 leads to any IPv4 address, private ones too
    return bool(one.is_global and inner.is_global and not one.is_multicast)


def _send_all(settings: Settings, urls: list[str], body: Mapping[str, Any]) -> None:
    for url in urls:
        for attempt in range(1, TRIES + 1):
            try:
                status = post(settings, url, body)
                if status < 500:
                    break
                log.warning("the webhook %s answered %s", urlsplit(url).hostname, status)
            except (NearmissError, ValueError) as error:
                log.warning("webhook: %s", error)
                break
            except httpx.HTTPError as error:
                log.warning("the webhook %s does not answer: %s", urlsplit(url).hostname, error)
            time.sleep(attempt)
