"""The one gate for texts that people or files bring: the same answer on SQLite and on Postgres."""

import hashlib
import re
import unicodedata

from app.errors import NearmissError

NO_TEXT = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff]")  # Unicode's Cc and Cs


def clean(text: str, *, what: str = "text", limit: int = 10_000) -> str:
    """`text` in Unicode's composed form (NFC), without surrounding blanks.

    Raises NearmissError for a NUL or another control character, half a surrogate pair, nothing but
    blanks, or more than `limit` characters. Emoji, tabs and line breaks pass as they are.
    """
    found = NO_TEXT.search(text)
    if found is not None:
        raise NearmissError(
            f"the {what} holds U+{ord(found[0]):04X} at character {found.start() + 1}, which is no text;"
            " remove it"
        )
    cleaned = unicodedata.normalize("NFC", text).strip()
    if not cleaned:
        raise NearmissError(f"the {what} is empty; write something")
    if len(cleaned) > limit:
        raise NearmissError(f"the {what} has {len(cleaned):,} characters; at most {limit:,} are taken")
    return cleaned


def text_hash(text: str) -> str:
    """SHA-256 of the UTF-8 bytes, in hexadecimal: how identical captions find each other."""
    return hashlib.sha256(text.encode()).hexdigest()
