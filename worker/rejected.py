"""The rows that an import refused, in a CSV that a spreadsheet opens: where, what was wrong, what to do."""

import csv
import tempfile
from typing import IO, Any

from app.media.store import MediaStore

QUOTED = 20  # rows quoted in the event; all of them go to the file
FORMULA = ("=", "+", "-", "@", "\t", "\r")


class RejectedRows:
    """Written as they come, so that a million of them fill no memory."""

    def __init__(self) -> None:
        self.num = 0
        self.examples: list[str] = []
        self._file: IO[str] = tempfile.TemporaryFile("w+", newline="", encoding="utf-8")  # noqa: SIM115  closed in keep
        self._rows = csv.writer(self._file)
        self._rows.writerow(["where", "reason", "remedy"])

    def add(self, where: str, sentence: str) -> None:
        """`sentence` says what was wrong and, after a semicolon or colon, what to do."""
        where, sentence = _sayable(where), _sayable(sentence)
        mark = max(sentence.rfind("; "), sentence.rfind(": "))
        reason, remedy = (sentence[:mark], sentence[mark + 2 :]) if mark > 0 else (sentence, "")
        self._rows.writerow([_plain(where), _plain(reason), _plain(remedy)])
        self.num += 1
        if len(self.examples) < QUOTED:
            self.examples.append(f"{where}: {sentence}")

    def keep(self, store: MediaStore) -> dict[str, Any]:
        """The body of the `rejected` event: how many, some of them, and the key of the file."""
        self._file.flush()
        self._file.seek(0)
        data = self._file.read().encode()
        self._file.close()
        key = store.put(data, kind="reports", suffix=".csv")
        return {"num": self.num, "examples": self.examples, "report_key": key}


def _sayable(text: str) -> str:
    """File names and columns may hold half a surrogate pair, which no report and no database takes."""
    return text.encode("utf-8", "backslashreplace").decode().replace("\0", "�")


def _plain(cell: str) -> str:
    """A spreadsheet takes no cell for a formula."""
    return f"'{cell}" if cell.startswith(FORMULA) else cell
