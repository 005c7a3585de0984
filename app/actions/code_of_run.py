"""The plain Python that does what a run does: clipcore alone, on what `nearmiss export` writes."""

from dataclasses import fields, is_dataclass
from typing import Any

from clipcore.config import FineTuneConfig

PROGRAM = '''"""Run in the folder that `nearmiss export DATASET --to . --format tsv` wrote."""

from clipcore import FineTuneConfig, FineTuneData, PairLabels, fine_tune
from clipcore.labels import read_captions, read_labels

config = FineTuneConfig().with_values({values})
data = FineTuneData.from_table("pairs.tsv")
verdicts = read_labels("verdicts.jsonl", config.labels)
data.extra_captions |= read_captions("verdicts.jsonl")
labels = PairLabels.for_data(data, verdicts)
held_out = PairLabels.for_data(data, verdicts, split="held_out")

for event in fine_tune(config, data, labels, held_out_labels=held_out, folder="run"):
    print(event)
# run/checkpoint is a plain open_clip folder: open_clip.create_model_and_transforms("local-dir:run/checkpoint")
'''


def code_of_run(config: FineTuneConfig) -> str:
    """A whole program; it names only the values that differ from clipcore's defaults."""
    return PROGRAM.format(values=_literal(_changed(FineTuneConfig(), config)))


def _changed(usual: Any, chosen: Any) -> dict[str, Any]:
    """The values of `chosen` that differ, nested as in the YAML."""
    found: dict[str, Any] = {}
    for field in fields(usual):
        was, now = getattr(usual, field.name), getattr(chosen, field.name)
        if was == now:
            continue
        inner = _changed(was, now) if is_dataclass(was) else now
        found[field.name] = inner
    return found


def _literal(values: dict[str, Any], indent: int = 0) -> str:
    """A dictionary as Python source, a key a line."""
    if not values:
        return "{}"
    inner = " " * (indent + 4)
    lines = [
        f"{inner}{name!r}: {_literal(value, indent + 4) if isinstance(value, dict) else repr(value)},"
        for name, value in values.items()
    ]
    return "\n".join(["{", *lines, " " * indent + "}"])
