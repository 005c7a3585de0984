"""The desk's routes, asked one after the other: the lists, and searches by meaning."""

import statistics
import time
from typing import Any

import httpx
from clock import percentile, timed, wait

NUM_ASKED, NUM_SEARCHED, MOST_FOUND = 20, 30, 300
LISTS = {
    "pairs_p95_ms": "/api/data-sets/1/explore?limit=60",
    "filter_p95_ms": "/api/data-sets/1/explore?limit=60&answer=none&min_chars=20",
    "suggestions_p95_ms": "/api/data-sets/1/explore?limit=60&show=suggestions&min_score=0.2&max_score=0.6",
    "nothing_matches_p95_ms": "/api/data-sets/1/explore?limit=60&min_chars=5000",
    "count_p95_ms": "/api/data-sets/1/explore/count?q=ship",
    "search_p95_ms": "/api/data-sets/1/explore?limit=60&q=ship+lamp",
    "queue_p95_ms": "/api/data-sets/1/queue?limit=30",
    "boards_p95_ms": "/api/data-sets/1/boards?limit=3",
}
WORDS = ("dog", "red house", "a small ship", "old lamp", "green tree")
SEARCHES = {
    "text": [{"q": f"{WORDS[at % 5]} {at}"} for at in range(NUM_SEARCHED)],
    "image": [{"image_id": 7 * at + 1} for at in range(NUM_SEARCHED)],
}


def lists(address: str) -> dict[str, float]:
    """Milliseconds of the lists' routes, p95 of 20: a page of pairs, a deep one, a filter, a word search."""
    found = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        for name, path in LISTS.items():
            times = [
                1000 * timed(lambda path=path: client.get(path).raise_for_status()) for _ in range(NUM_ASKED)
            ]
            found[name] = percentile(times, 95)
    return found


def meaning(address: str) -> dict[str, float]:
    """Milliseconds of searches by meaning as Explore asks them, the demo's model warm: words, and an image of the set."""
    found = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        wait("the search worker", lambda: not search(client, {"q": "dog"})["note"], pause_s=1.0)
        for kind, queries in SEARCHES.items():
            times = []
            for query in queries:
                began = time.perf_counter()
                answer = search(client, query | {"limit": MOST_FOUND})
                times.append(1000 * (time.perf_counter() - began))
                if answer["note"] or len(answer["items"]) != MOST_FOUND:
                    raise SystemExit(f"{query} was not searched by meaning: {answer['note']}")
            found[f"search_{kind}_p50_ms"] = round(statistics.median(times), 1)
            found[f"search_{kind}_p95_ms"] = percentile(times, 95)
    return found


def search(client: httpx.Client, query: dict[str, Any]) -> Any:
    """The route's JSON."""
    return client.get("/api/data-sets/1/search", params=query).raise_for_status().json()
