"""Explore: every row once whatever the filter, the same words on both databases, and no statement that scans."""

import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import event, insert, text, update

from app.actions.decide import Decision, decide
from app.errors import NearmissError
from app.store.database import Database
from app.store.models import Caption, DataSet, Image, Pair, Suggestion
from app.store.reads import walks
from app.store.reads.explore import Card, choices, count_cards, page_of_cards
from app.store.reads.filters import Filter
from app.store.words import index_words, words_of


def everything(database: Database, wanted: Filter, *, limit: int = 7, data_set_id: int = 1) -> list[Card]:
    found: list[Card] = []
    after: str | None = None
    while True:
        with database.reading() as session:
            page = page_of_cards(session, data_set_id, wanted, after=after, limit=limit)
        found += page.items
        after = page.next
        if after is None:
            return found


@pytest.fixture
def explored(seeded: Database, monkeypatch: pytest.MonkeyPatch) -> Database:
    """The twelve things with their words indexed and three verdicts; windows are small, so that every walk has many."""
    monkeypatch.setattr(walks, "WINDOW", 3)
    with seeded.transaction() as session:
        said = [(1, 2, "match"), (1, 3, "no_match"), (4, 4, "broken_pair")]
        decide(
            session,
            decisions=[Decision(str(uuid.uuid4()), i, c, a) for i, c, a in said],  # type: ignore[arg-type]
            person="ana",
        )
    return seeded


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        (Filter(), set(range(1, 13))),
        (Filter(split="held_out"), {11, 12}),
        (Filter(words="THING 1"), {2, 11, 12}),  # things 1, 10 and 11: the last word may go on
        (Filter(words="thing", split="held_out"), {11, 12}),
        (Filter(words="nothing"), set()),
        (Filter(words="—"), set()),
        (Filter(answer="broken_pair"), {4}),
        (Filter(answer="any"), {4}),
        (Filter(answer="none"), set(range(1, 13)) - {4}),
        (Filter(min_chars=8), {11, 12}),
        (Filter(max_chars=7, split="train"), set(range(1, 11))),
        (Filter(since=datetime.now(UTC).date() + timedelta(days=2)), set()),
        (Filter(until=datetime.now(UTC).date()), set(range(1, 13))),
        (Filter(tag="nobody gave it"), set()),
        (Filter(group=99), set()),
    ],
)
def test_pairs_of_a_filter_come_once_each_in_pages(
    explored: Database, wanted: Filter, expected: set[int]
) -> None:
    for limit in (1, 4, 60):
        ids = [card.id for card in everything(explored, wanted, limit=limit)]
        assert len(ids) == len(set(ids)) and set(ids) == expected


@pytest.mark.parametrize(
    ("wanted", "num"),
    [
        (Filter(show="suggestions"), 12 * 11 - 2),
        (Filter(show="suggestions", words="thing 3"), 11),
        (Filter(show="suggestions", answer="no_match"), 12 * 11 - 2),
        (Filter(show="suggestions", answer="match"), 0),
        (Filter(show="suggestions", min_score=0.6), 0),
        (Filter(show="suggestions", min_score=0.4, max_score=0.5), 12 * 11 - 2),
        (Filter(show="suggestions", split="held_out"), 22),
        (Filter(show="verdicts"), 3),
        (Filter(show="verdicts", answer="match"), 1),
        (Filter(show="verdicts", person="ana"), 3),
        (Filter(show="verdicts", person="ana", answer="no_match"), 1),
        (Filter(show="verdicts", person="bob"), 0),
        (Filter(show="verdicts", words="thing 1"), 1),
    ],
)
def test_suggestions_and_verdicts_come_once_each_too(explored: Database, wanted: Filter, num: int) -> None:
    for limit in (2, 60):
        found = everything(explored, wanted, limit=limit)
        assert len({(c.image_id, c.caption_id) for c in found}) == len(found) == num


def test_a_filter_that_makes_no_sense_is_one_sentence(explored: Database) -> None:
    with pytest.raises(NearmissError, match="smaller one first"):
        Filter(min_chars=9, max_chars=3)
    for show in ("pairs", "suggestions"):
        with pytest.raises(NearmissError, match="have no person"):
            Filter(show=show, person="ana")
    with pytest.raises(NearmissError, match="pairs have no score"):
        Filter(min_score=0.1)
    for place in ("x", "1,2,3", "1e400", "--1", f"{2**70}"):
        with explored.reading() as session, pytest.raises(NearmissError, match="place"):
            page_of_cards(session, 1, Filter(), after=place)


def test_words_are_the_same_on_both_databases_whatever_the_alphabet(seeded: Database) -> None:
    texts = {
        1: "Ein Café am Fluß",
        2: "t-shirt_rot, 3.5 m",
        3: "黒い猫",
        4: "ДОМ у реки",
        5: "don't 😀 \u202etxet",
    }
    with seeded.transaction() as session:
        for id_, caption in texts.items():
            session.execute(update(Caption).where(Caption.id == id_).values(text=caption))
        session.execute(text("delete from caption_words"))  # it follows new captions: texts do not change
        while index_words(session):
            pass
    asked = {"cafe": {1}, "FLUSS": {1}, "shirt": {2}, "rot": {2}, "猫": {3}, "дом": {4}, "дом реки": {4}}
    asked |= {"don": {5}, "txet": {5}, "5": {2, 6}, '"OR 1=1': set(), "' | 'cafe": {1}, "NEAR(": set()}
    for query, expected in asked.items():
        found = {c.caption_id for c in everything(seeded, Filter(words=query))}
        assert found == expected, query
    assert words_of("Ångström’s  ﬁne_Art") == ["angstrom", "s", "fine", "art"]


def test_the_index_follows_imports_erasures_and_deletions(seeded: Database) -> None:
    with seeded.transaction() as session:
        session.execute(text("delete from caption_words"))
        assert [index_words(session, limit=8) for _ in range(3)] == [8, 4, 0]
        session.add(Caption(id=13, data_set_id=1, text="a late comer", sha256="0" * 64))
        session.add(Image(id=13, data_set_id=1, key="late", sha256="0" * 64, width=1, height=1))
        session.flush()
        session.add(Pair(data_set_id=1, image_id=13, caption_id=13))
    assert everything(seeded, Filter(words="late")) == []
    with seeded.transaction() as session:
        assert index_words(session) == 1
    assert [card.caption for card in everything(seeded, Filter(words="late"))] == ["a late comer"]
    with seeded.transaction() as session:
        session.execute(update(Caption).where(Caption.id == 13).values(erased_at=datetime.now(UTC)))
    with seeded.reading() as session:
        held = session.execute(text("select count(*) from caption_words")).scalar()
    assert held == 12, "an erased caption leaves no words behind"
    with seeded.transaction() as session:
        session.delete(session.get_one(Caption, 12))
    with seeded.reading() as session:
        assert session.execute(text("select count(*) from caption_words")).scalar() == 11


def test_another_data_set_with_the_same_words_stays_out(explored: Database) -> None:
    with explored.transaction() as session:
        session.add(DataSet(id=11, name="others"))
        session.flush()
        session.add(Caption(id=50, data_set_id=11, text="thing 3", sha256="1" * 64))
        session.add(Image(id=50, data_set_id=11, key="x", sha256="1" * 64, width=1, height=1))
        session.flush()
        session.add(Pair(data_set_id=11, image_id=50, caption_id=50))
        while index_words(session):
            pass
    assert [c.image_id for c in everything(explored, Filter(words="thing 3"))] == [4]
    assert [c.image_id for c in everything(explored, Filter(words="thing 3"), data_set_id=11)] == [50]


def test_choices_are_the_tags_and_the_people(explored: Database) -> None:
    with explored.reading() as session:
        assert choices(session, 1).people == ["ana"]
        assert count_cards(session, 1, Filter(words="thing")) == count_cards(session, 1, Filter())


NUM_MANY, SMALL_WINDOW = 20_000, 500


@pytest.fixture(params=["sqlite", "postgres"], scope="module")
def many(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """20,000 pairs and as many suggestions; only one caption in 3,000 says `rare`, all say `thing`."""
    import tests.app.conftest as conf

    make = (
        conf.settings.__wrapped__ if hasattr(conf.settings, "__wrapped__") else conf.settings
    )  # the plain function
    made = Database(make(request, tmp_path_factory.mktemp("many")))
    conf.migrate(made.engine)
    rng = random.Random(0)
    one = {"data_set_id": 1}
    with made.transaction() as session:
        session.add(DataSet(id=1, name="many", num_pairs=NUM_MANY))
        session.flush()
        conf.add_model(session, name="tiny", location="local-dir:tiny")
        span = range(1, NUM_MANY + 1)
        rare = {i: "rare" if i % 3_000 == 0 else "plain" for i in span}
        session.execute(
            insert(Image.__table__),
            [one | {"id": i, "key": str(i), "sha256": f"{i:064x}", "width": 1, "height": 1} for i in span],
        )
        session.execute(
            insert(Caption.__table__),
            [one | {"id": i, "text": f"{rare[i]} thing {i}", "sha256": f"{i:064x}"} for i in span],
        )
        session.execute(
            insert(Pair.__table__),
            [one | {"id": i, "image_id": i, "caption_id": i, "split": "train"} for i in span],
        )
        numbers = ("probability", "impact", "uncertainty", "shuffle")
        fixed = one | {"model_id": 1, "proposed": "no_match", "signals": {}, "reasons": [], "state": "open"}
        session.execute(
            insert(Suggestion.__table__),
            [
                fixed
                | {"image_id": i, "caption_id": i % NUM_MANY + 1, "score": rng.random(), "group_key": ""}
                | dict.fromkeys(numbers, 0.5)
                for i in span
            ],
        )
        while index_words(session):
            pass
    with made.engine.begin() as connection:
        connection.execute(text("analyze"))
    yield made
    made.close()


FILTERS = [
    Filter(),
    Filter(words="thing"),
    Filter(words="rare"),
    Filter(words="rare thing", split="train"),
    Filter(split="held_out"),
    Filter(answer="none", min_chars=5),
    Filter(min_chars=500),
    Filter(answer="match"),
    Filter(tag="none such"),
    Filter(show="suggestions"),
    Filter(show="suggestions", min_score=0.2, max_score=0.6),
    Filter(show="suggestions", answer="match"),
    Filter(show="suggestions", words="rare"),
    Filter(show="verdicts", answer="match"),
    Filter(show="verdicts", person="ana"),
]


@pytest.mark.parametrize("wanted", FILTERS, ids=repr)
def test_no_page_looks_at_more_than_windows_of_an_index(
    many: Database, wanted: Filter, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite counts the steps of its machine; Postgres says how many rows each plan's nodes gave or threw away."""
    monkeypatch.setattr(walks, "WINDOW", SMALL_WINDOW)
    for after in (None, "9000", "9000,1", "0.3,9000"):
        with many.reading() as session:
            walk = walks.walk_of(session, 1, wanted)
            if after is not None and len(after.split(",")) != len(walk.key):
                continue
            looked = _looked_at(
                many,
                session,
                lambda s=session, a=after: walks.visit(s, 1, wanted, after=a, limit=60, budget_s=0.0),
            )
        assert looked < 12 * SMALL_WINDOW, f"{looked} after {after}"


def _looked_at(database: Database, session, read) -> int:
    """Rows that the statements of `read` touched, at most."""
    if database.engine.dialect.name == "sqlite":
        raw = session.connection().connection.driver_connection
        steps = [0]
        raw.set_progress_handler(lambda: steps.__setitem__(0, steps[0] + 1) or 0, 100)
        read()
        raw.set_progress_handler(None, 0)
        return steps[0] * 100 // 20  # about twenty instructions a row
    seen: list[tuple[str, object]] = []
    note = lambda _c, _cursor, statement, parameters, *_: seen.append((statement, parameters))  # noqa: E731
    event.listen(database.engine, "before_cursor_execute", note)
    try:
        read()
    finally:
        event.remove(database.engine, "before_cursor_execute", note)
    largest = 0
    for statement, parameters in seen:
        if statement.startswith("SELECT"):
            cursor = session.connection().connection.cursor()
            cursor.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + statement, parameters)
            largest = max(largest, _rows(cursor.fetchone()[0][0]["Plan"]))
    return largest


def _rows(node) -> int:
    loops = node["Actual Loops"]
    own = (
        node["Actual Rows"]
        + node.get("Rows Removed by Filter", 0)
        + node.get("Rows Removed by Join Filter", 0)
    ) * loops
    return max([own, *(_rows(child) for child in node.get("Plans", []))])
