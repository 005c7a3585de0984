"""What every route needs: the database, who asks, and whether they may.

HOW A NEW ROUTE IS CLASSIFIED. `create_app` puts `guard` before every route; it is closed until it knows:

- The path names a row of a data set by one of `app.store.reads.owners.NAMES` (`{data_set_id}`, `{run_id}` …):
  nothing to do. GET needs a viewer of that data set, everything else an annotator; a foreign row is 404. To ask for
  more, add `dependencies=[DATA_SET_ADMIN]` or, where POST only computes, `dependencies=[VIEWER]`.
  A new table is one line in `owners.py`. The same names in the query string are checked too.
- `dependencies=[SERVER_ADMIN]`: it touches the server (paths, uploads, people).
- `dependencies=[ANYBODY]`: after log-in, and it shows nothing of any data set.
- `dependencies=[ASKS_ITSELF]`: ids come in the body, or it lists: take `caller: Caller` and call `demand` or
  `demand_rows`, and add a request with foreign ids to FOREIGN_BODIES in tests/app/test_matrix.py.
- `dependencies=[OPEN]`: strangers too; also listed in `app.api.door.OPEN`.

tests/app/test_matrix.py fails for a route without a class, and calls every route as every role with foreign ids.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import Depends, Path, Request
from sqlalchemy.orm import Session
from starlette.concurrency import run_in_threadpool

from app.actions.rights import RANK, Forbidden, Role, Who, demand
from app.errors import NotFound
from app.store.database import Database
from app.store.reads.owners import NAMES, owner_of, owners_of

MAX_ID = 2**63 - 1
Kind = Literal["open", "anybody", "asks_itself", "server", "data_set"]


@dataclass(frozen=True)
class Needs:
    """The class of a route; as a dependency it does nothing, `guard` reads it."""

    kind: Kind
    role: Role | None = None

    def __call__(self) -> None:
        """Nothing."""


OPEN = Depends(Needs("open"))
ANYBODY = Depends(Needs("anybody"))
ASKS_ITSELF = Depends(Needs("asks_itself"))
SERVER_ADMIN = Depends(Needs("server", "admin"))
DATA_SET_ADMIN = Depends(Needs("data_set", "admin"))
VIEWER = Depends(Needs("data_set", "viewer"))


def _database(request: Request) -> Database:
    database: Database = request.app.state.database
    return database


def _caller(request: Request) -> Who:
    """Whom the door let in."""
    who: Who = request.state.who
    return who


def _person(request: Request) -> str:
    return _caller(request).name


Db = Annotated[Database, Depends(_database)]
Caller = Annotated[Who, Depends(_caller)]
Person = Annotated[str, Depends(_person)]
Id = Annotated[int, Path(ge=1, le=MAX_ID)]


def needs_of(route: Any, method: str) -> Needs | None:
    """The class of a route for a method; None: it has none yet."""
    named = [d.dependency for d in route.dependencies if isinstance(d.dependency, Needs)]
    if named:
        return named[0]
    if any("{" + name + "}" in route.path for name in NAMES):
        return Needs("data_set", "viewer" if method in ("GET", "HEAD") else "annotator")
    return None


async def guard(request: Request, database: Db) -> None:
    """Raises NotFound for rows of data sets that the caller does not see, Forbidden for what their role may not do."""
    needs = needs_of(request.scope["route"], request.method)
    if needs is not None and needs.kind == "open":
        return None
    who = _caller(request)
    if needs is None:
        raise Forbidden("this address has no rule yet who may use it; tell the developers")
    if needs.kind == "server":
        return demand(who, needs.role or "admin", None)
    rows = [(name, int(text)) for name, text in _named(request) if text.isascii() and text.isdecimal()]
    role = needs.role or "viewer"
    if who.sees_all and RANK[who.role_on(0) or "viewer"] >= RANK[role]:
        return None  # no look-up: the route says by itself what is not there
    return await run_in_threadpool(_check, who, role, rows, database)


def _named(request: Request) -> Iterable[tuple[str, str]]:
    """Ids in the path and in the query; what is no id is refused by the route itself."""
    yield from ((name, text) for name, text in request.path_params.items() if name in NAMES)
    yield from ((name, text) for name, text in request.query_params.multi_items() if name in NAMES)


def _check(who: Who, role: Role, rows: list[tuple[str, int]], database: Database) -> None:
    with database.reading() as session:
        for name, row_id in rows:
            what = f"{name.removesuffix('_id').replace('_', ' ')} {row_id}"
            found, data_set_id = owner_of(session, name, row_id) if row_id <= MAX_ID else (False, None)
            if not found:
                raise NotFound(f"there is no {what}; reload the page")
            if name != "model_id" or data_set_id is not None:  # base models are everybody's
                demand(who, role if name != "model_id" else "viewer", data_set_id, what=what)


def demand_rows(session: Session, who: Who, role: Role, **ids: Iterable[int]) -> None:
    """As `guard`, for rows named in a body: `image_id=[1, 2]`. Raises NotFound, Forbidden."""
    for name, row_ids in ids.items():
        wanted = set(row_ids)
        if name == "data_set_id":
            owners: dict[int, int | None] = {i: i for i in wanted}
        else:
            owners = owners_of(session, name, wanted)
        what = name.removesuffix("_id").replace("_", " ")
        for row_id in sorted(wanted):
            if row_id not in owners:
                if who.sees_all:
                    continue  # the action says by itself what is missing
                raise NotFound(f"there is no {what} {row_id}; reload the page")
            if name != "model_id" or owners[row_id] is not None:
                demand(who, role if name != "model_id" else "viewer", owners[row_id], what=f"{what} {row_id}")
