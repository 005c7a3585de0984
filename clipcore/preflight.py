"""Before the launch: what the settings will do with the data, and what cannot work. Numpy at most."""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from clipcore.batching import LARGEST_SHARE, Composer
from clipcore.config import HEAD_NAMES, EvaluationConfig, FineTuneConfig
from clipcore.errors import ClipcoreError
from clipcore.labels import PairLabels


@dataclass(frozen=True)
class Preflight:
    """The counts shown before the click. `refusals` stop the launch, `warnings` do not; each is a sentence."""

    num_pairs: int
    steps: int
    warmup_steps: int
    batch_size: int
    labels: dict[str, int]  # masks, extra_positives, soft, hard_negatives, broken_pairs, conflicts
    collisions_without_labels: float  # false negatives that meet as negatives, per epoch
    collisions_with_labels: float
    loss_floor: float  # nats that duplicates put under InfoNCE
    refusals: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    def refuse(self) -> None:
        """Raises ClipcoreError with the first refusal, if there is one."""
        if self.refusals:
            raise ClipcoreError(self.refusals[0])


def preflight(
    config: FineTuneConfig,
    pairs: Sequence[tuple[str, str]],
    labels: PairLabels,
    *,
    captions: dict[str, str] | None = None,
    num_ranks: int = 1,
    num_held_out: int | None = None,
) -> Preflight:
    """Counts what `pairs` (image id, caption id) and `labels` give under `config`."""
    kept = [pair for pair in pairs if pair not in labels.broken]
    size = config.batch.size
    replayed = int(min(max(config.batch.replay, 0.0), LARGEST_SHARE) * size)
    composer = Composer(num_pairs=len(kept), batch_size=max(size - replayed, 2), seed=config.seed)
    steps = composer.steps_per_epoch * config.epochs
    steps = min(steps, config.max_steps) if config.max_steps else steps
    warmup = math.ceil(config.optimiser.warmup * steps) if 0.0 <= config.optimiser.warmup < 1.0 else steps
    copies = Counter(_plain((captions or {}).get(c, c)) for _, c in kept)
    known = _false_negatives(labels)
    twins, seen_twins = (
        sum(n * (n - 1) for n in copies.values()),
        _grouped_twins(kept, captions or {}, labels),
    )
    meet = (min(size, len(kept)) - 1) / max(len(kept) - 1, 1)
    return Preflight(
        num_pairs=len(kept),
        steps=steps,
        warmup_steps=warmup,
        batch_size=min(size, len(kept)),
        labels=labels.counts(),
        collisions_without_labels=(known + twins) * meet,
        collisions_with_labels=(twins - seen_twins) * meet,
        loss_floor=_floor(copies, len(kept), size),
        refusals=_refusals(config, len(kept), steps, len(copies), num_ranks)
        + _evaluation_refusals(config.evaluation, num_held_out),
        warnings=_warnings(config, labels, len(kept), steps, warmup)
        + (["Nothing is held out, so nothing is measured."] if num_held_out == 0 else []),
    )


def _plain(text: str) -> str:
    """Captions that differ in case or blanks only say the same."""
    return " ".join(text.casefold().split())


def _grouped_twins(pairs: Sequence[tuple[str, str]], captions: dict[str, str], labels: PairLabels) -> int:
    """How many ordered pairs of equal captions the labels already take for one item."""
    groups = Counter((_plain(captions.get(c, c)), labels.caption_group(c)) for _, c in pairs)
    return sum(n * (n - 1) for n in groups.values())


def _false_negatives(labels: PairLabels) -> int:
    counts = labels.counts()
    return counts["masks"] + counts["extra_positives"] + counts["soft"]


def _floor(copies: Counter[str], num_pairs: int, size: int) -> float:
    """With k expected copies of a caption in the batch, no model can push single-positive InfoNCE below log k."""
    if num_pairs < 2:
        return 0.0
    meet = (min(size, num_pairs) - 1) / (num_pairs - 1)
    return sum(n * math.log(1 + (n - 1) * meet) for n in copies.values()) / num_pairs


def _refusals(
    config: FineTuneConfig, num_pairs: int, steps: int, num_captions: int, num_ranks: int
) -> list[str]:
    size = config.batch.size
    found = []
    if num_pairs < 2:
        found.append(
            f"There are {num_pairs} pairs to train on: a contrastive loss needs at least 2; import more."
        )
    elif num_captions < 2:
        found.append(
            f"All {num_pairs} pairs bear the same caption: there is nothing to tell apart; import other captions."
        )
    if size < 2:
        found.append(f"The batch size is {size}: a contrastive loss needs at least 2; choose 2 or more.")
    if size < num_ranks:
        found.append(
            f"The batch size {size} is below the {num_ranks} processes: choose at least {num_ranks}."
        )
    if size > num_pairs >= 2:
        found.append(f"The batch size {size} is above the {num_pairs} pairs: choose {num_pairs} or less.")
    if config.batch.micro_batch < 1:
        found.append(f"The micro-batch is {config.batch.micro_batch}: choose 1 or more.")
    if config.max_steps < 0:
        found.append(f"At most {config.max_steps} steps are none: choose 1 or more, or 0 for no limit.")
    elif steps < 1:
        found.append(f"These settings make no step: raise epochs (now {config.epochs}) to 1 or more.")
    warmup = config.optimiser.warmup
    if warmup >= 1.0:
        found.append(f"The warm-up of {warmup:.0%} is the whole run: choose a fraction below 1.")
    elif not warmup >= 0.0:
        found.append(f"The warm-up is {warmup}: choose a fraction from 0 to below 1.")
    for name, share in (("together", config.batch.together), ("replay", config.batch.replay)):
        if not 0.0 <= share <= LARGEST_SHARE:
            found.append(f"batch.{name} is {share}: choose a share from 0 to {LARGEST_SHARE}.")
    if not 0.0 <= config.optimiser.ema < 1.0:
        found.append(f"The EMA decay is {config.optimiser.ema}: choose 0 (off) or a number just below 1.")
    if not any(config.loss.heads.values()):
        found.append("The loss is empty: give at least one head a weight above 0.")
    unknown = sorted(set(config.loss.heads) - set(HEAD_NAMES))
    if unknown:
        found.append(f"There is no head {unknown[0]!r}: use one of {', '.join(HEAD_NAMES)}.")
    return found


def _evaluation_refusals(config: EvaluationConfig, num_held_out: int | None) -> list[str]:
    found = []
    if num_held_out == 0 and (config.keep == "best" or config.patience):
        found.append("Best weights and early stop need held-out pairs: hold some out.")
    if config.patience and not config.every_epochs:
        found.append("Early stop needs evaluations on the way: set evaluation.every_epochs to 1 or more.")
    if config.sweep == 1 or config.sweep < 0:
        found.append(f"A sweep of {config.sweep} mixes says nothing: take 5, or 0 for none.")
    return found


def _warnings(
    config: FineTuneConfig, labels: PairLabels, num_pairs: int, steps: int, warmup: int
) -> list[str]:
    found = []
    counts = labels.counts()
    if counts["conflicts"]:
        found.append(
            f"{counts['conflicts']} candidates carry contradicting statements; they are masked until settled."
        )
    if counts["hard_negatives"] and config.labels.hard_negatives_per_row == 0 and config.batch.together == 0:
        found.append(
            "Hard negatives are neither appended nor brought together, so they will hardly ever meet."
        )
    if config.evaluation.keep == "best" and not config.evaluation.every_epochs:
        found.append("Nothing is measured on the way, so the best weights are the last: set every_epochs.")
    if config.evaluation.export_mix == "recommended" and not config.evaluation.sweep:
        found.append("No mix is recommended without a sweep: set evaluation.sweep to 5.")
    if 0 < steps < 10:
        found.append(f"Only {steps} steps: the model will hardly move.")
    if num_pairs < 100:
        found.append(f"Only {num_pairs} pairs: expect the model to learn them by heart.")
    return found
