"""Trains with labels from a TSV of pairs and a verdicts file: no database, no web.

python examples/finetune.py pairs.tsv verdicts.jsonl local-dir:MODEL run/
"""

import sys

from clipcore import FineTuneData, PairLabels, fine_tune, preset
from clipcore.events import Evaluated, Finished, StepDone
from clipcore.labels import read_labels

table, verdicts, model, folder = sys.argv[1:5]
data = FineTuneData.from_table(table)
labels = PairLabels.for_data(data, read_labels(verdicts))
config = preset("adapter").with_values(
    {"model": {"name": model}, "batch": {"size": min(512, len(data.train))}}
)

for event in fine_tune(config, data, labels, folder=folder):
    if isinstance(event, StepDone) and event.step % 20 == 0:
        print(f"step {event.step}/{event.total_steps}  loss {event.loss:.3f}  {event.eta_s:.0f} s left")
    elif isinstance(event, Evaluated):
        print(event.when, {name: round(value, 3) for name, value in event.metrics.items()})
    elif isinstance(event, Finished):
        print("open_clip loads the result by", f"local-dir:{event.checkpoint}")
