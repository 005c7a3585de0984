"""`python -m clipcore run.yaml --pairs pairs.tsv --verdicts verdicts.jsonl --out run/`: a run without database or web.

Under torchrun it trains with all processes, the same gradient as one. Ctrl+C or SIGTERM saves a checkpoint and stops;
the same command goes on from there.
"""

import argparse
import signal
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from clipcore.arms import labels_of_arm
from clipcore.config import PRESETS, FineTuneConfig, preset
from clipcore.data import FineTuneData
from clipcore.errors import ClipcoreError
from clipcore.labels import PairLabels, read_captions, read_labels
from clipcore.preflight import preflight


def main(arguments: list[str] | None = None) -> int:
    """The exit code: 0 finished or saved on request, 2 refused with a sentence."""
    parser = argparse.ArgumentParser(prog="clipcore", description="Fine-tune a CLIP with labels on pairs.")
    parser.add_argument("config", help=f"a YAML file, or a preset: {', '.join(PRESETS)}")
    parser.add_argument(
        "--pairs",
        required=True,
        help="TSV, CSV, JSONL or Parquet of pairs (filepath, title, split), or WebDataset shards: 'a-{000..009}.tar'",
    )
    parser.add_argument("--held-out", help="WebDataset shards to measure on, beside those of --pairs")
    parser.add_argument("--verdicts", help="JSONL or CSV of labels (image_id, caption_id, verdict)")
    parser.add_argument("--model", help="open_clip's name, hf-hub:… or local-dir:…; replaces the YAML's")
    parser.add_argument("--out", default="run", help="folder of checkpoints and result")
    parser.add_argument("--cache", metavar="FOLDER", help="keeps embeddings of still towers for the next run")
    parser.add_argument(
        "--push", metavar="ORGANISATION/NAME", help="upload the result to the hub (needs a token)"
    )
    parser.add_argument("--dry-run", action="store_true", help="say what would happen, and stop")
    given = parser.parse_args(arguments)
    try:
        return _run(given)
    except ClipcoreError as error:
        print(f"clipcore: {error}", file=sys.stderr)
        return 2


def _run(given: argparse.Namespace) -> int:
    config = _config(given)
    data = _data(given)
    found = read_labels(given.verdicts, config.labels) if given.verdicts else []
    if given.verdicts:
        data.extra_captions |= read_captions(given.verdicts)
    labels = PairLabels.for_data(data, found)
    if given.dry_run:
        labels = labels_of_arm(labels, config.labels.use, seed=config.seed)
        pairs = [(x.image_id, x.caption_id) for x in data.train]
        captions = {x.caption_id: x.caption for x in data.train}
        report = preflight(config, pairs, labels, captions=captions, num_held_out=len(data.held_out))
        for name, value in asdict(report).items():
            print(f"{name}: {value}")
        report.refuse()
        return 0
    held_out = PairLabels.for_data(data, found, split="held_out")
    return _train(config, data, labels, held_out, given)


def _data(given: argparse.Namespace) -> FineTuneData:
    if given.pairs.endswith(".tar"):
        return FineTuneData.from_webdataset(given.pairs, held_out=given.held_out or ())
    if given.held_out:
        raise ClipcoreError("--held-out names shards: in a table the column split says what is held out.")
    return FineTuneData.from_table(given.pairs)


def _config(given: argparse.Namespace) -> FineTuneConfig:
    path = Path(given.config)
    if path.suffix in (".yaml", ".yml"):
        if not path.is_file():
            raise ClipcoreError(f"There is no file {path}: name a YAML file or one of {', '.join(PRESETS)}.")
        config = FineTuneConfig.from_yaml(path.read_text(encoding="utf-8"))
    else:
        config = preset(given.config)
    if given.model:
        config = config.with_values({"model": {"name": given.model, "pretrained": ""}})
    return config


def _train(
    config: FineTuneConfig,
    data: FineTuneData,
    labels: PairLabels,
    held_out_labels: PairLabels,
    given: argparse.Namespace,
) -> int:
    from clipcore.distributed import rank, start
    from clipcore.events import Evaluated, Finished, Started, StepDone, Swept
    from clipcore.finetune import fine_tune

    asked: list[str] = []

    def ask(*_: Any) -> None:
        asked.append("stop")

    signal.signal(signal.SIGTERM, ask)
    signal.signal(signal.SIGINT, ask)
    start()
    stop = lambda: asked[0] if asked else None  # noqa: E731
    for event in fine_tune(
        config,
        data,
        labels,
        held_out_labels=held_out_labels,
        folder=given.out,
        cache_folder=given.cache,
        stop=stop,
    ):
        if rank() != 0:
            continue
        if isinstance(event, Started):
            for remark in event.remarks:
                print(remark)
        elif isinstance(event, StepDone):
            end = "\n" if event.step == event.total_steps else "\r"
            line = f"step {event.step}/{event.total_steps}  loss {event.loss:.4f}  {event.pairs_per_s:.0f} pairs/s"
            print(f"{line}  {event.eta_s:.0f} s left   ", end=end, flush=True)
        elif isinstance(event, Evaluated):
            told = "  ".join(f"{name} {value:.3f}" for name, value in event.metrics.items() if value == value)
            print(f"{event.when}: {told}")
        elif isinstance(event, Swept):
            _tell_sweep(event)
        elif isinstance(event, Finished):
            if event.stopped:
                print(
                    f"\nstopped at step {event.step}; the same command goes on from the checkpoint in {given.out}"
                )
            else:
                print(f"open_clip loads the result by local-dir:{event.checkpoint}")
            if given.push and event.checkpoint:
                from clipcore.hub import push

                print(f"pushed to {push(event.checkpoint, given.push, base=config.model.name)}")
    return 0


def _tell_sweep(event: Any) -> None:
    for mix in event.mixes:
        told = "  ".join(
            f"{k} {mix.metrics[k]:.3f}" for k in ("map_at_r", "retention_map_at_r") if k in mix.metrics
        )
        print(f"mix {mix.share:.2f}: {told}")
    print(f"recommended mix: {event.recommended:.2f}")


if __name__ == "__main__":
    sys.exit(main())
