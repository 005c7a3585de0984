"""Guidelines: every version is kept, and nobody overwrites another's."""

import pytest

from app.actions.write_guidelines import write_guidelines
from app.errors import Conflict, NearmissError
from app.store.database import Database


def test_a_new_version_needs_the_one_it_was_made_from(seeded: Database) -> None:
    with seeded.transaction() as session:
        first = write_guidelines(session, 1, text=" Colours must agree. ", after=0, person="ana").id
    with seeded.transaction() as session:
        second = write_guidelines(session, 1, text="Colours and counts.", after=first, person="bo")
        assert second.id > first
    with seeded.transaction() as session, pytest.raises(Conflict, match="newer version"):
        write_guidelines(session, 1, text="Mine.", after=first, person="ana")


@pytest.mark.parametrize("text", ["", "a\0b", "x" * 20_001])
def test_what_is_no_text_is_refused(seeded: Database, text: str) -> None:
    with seeded.reading() as session, pytest.raises(NearmissError):
        write_guidelines(session, 1, text=text, after=0, person="ana")
