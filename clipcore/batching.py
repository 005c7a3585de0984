"""Who meets whom: batches as a pure function of seed and epoch, fed with numbers, never with embeddings."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from clipcore.errors import ClipcoreError

LARGEST_SHARE = 0.5  # beyond, batches stop resembling the data and retrieval falls


@dataclass(frozen=True)
class Composer:
    """Every pair once an epoch; hard negatives are brought together on up to `together` of a batch.

    `hard_partners[i]` are the pairs whose caption (or image) is a curated negative of pair i. The share `replay` of a
    batch is drawn from the numbers in `replay_from`, beside the epoch's own pairs.
    """

    num_pairs: int
    batch_size: int
    seed: int
    hard_partners: Sequence[Sequence[int]] = ()
    together: float = 0.0
    replay: float = 0.0
    replay_from: Sequence[int] = ()

    def __post_init__(self) -> None:
        if not 0.0 <= self.together <= LARGEST_SHARE:
            raise ClipcoreError(
                f"together is {self.together}: bring at most {LARGEST_SHARE:.0%} of a batch together."
            )

        if not 0.0 <= self.replay <= LARGEST_SHARE:
            raise ClipcoreError(f"replay is {self.replay}: replay at most {LARGEST_SHARE:.0%} of a batch.")

    @property
    def num_own(self) -> int:
        """Pairs of the epoch in a full batch; the others are replayed."""
        return self.batch_size - (int(self.replay * self.batch_size) if self.replay_from else 0)

    @property
    def steps_per_epoch(self) -> int:
        """Batches of an epoch; a last single pair has nobody to be told from and is left for the next epoch."""
        whole, rest = divmod(self.num_pairs, self.num_own)
        return whole + (rest >= 2)

    def epoch(self, epoch: int) -> list[list[int]]:
        """The batches of one epoch, each a list of pair numbers."""
        order = np.random.default_rng([self.seed, epoch]).permutation(self.num_pairs)
        if self.hard_partners and self.together > 0:
            order = self._brought_together(order)
        cuts = range(0, self.num_pairs, self.num_own)
        batches = [order[i : i + self.num_own].tolist() for i in cuts]
        return self._with_replay([batch for batch in batches if len(batch) >= 2], epoch)

    def _with_replay(self, batches: list[list[int]], epoch: int) -> list[list[int]]:
        """Fills each batch up with replayed pairs that it does not hold already."""
        if self.num_own == self.batch_size:
            return batches
        rng, filled = np.random.default_rng([self.seed, epoch, 1]), []
        for batch in batches:
            drawn = rng.permutation(np.setdiff1d(self.replay_from, batch))
            filled.append(batch + drawn[: self.batch_size - self.num_own].tolist())
        return filled

    def _brought_together(self, order: np.ndarray) -> np.ndarray:
        """Pulls waiting hard partners right behind the pair that they belong to, within each batch's quota."""
        placed = np.zeros(self.num_pairs, dtype=bool)
        result: list[int] = []
        quota = int(self.together * self.num_own)
        pulled = 0
        for pair in order.tolist():
            if placed[pair]:
                continue
            placed[pair] = True
            result.append(pair)
            if len(result) % self.num_own == 0:
                pulled = 0
            for partner in self.hard_partners[pair]:
                at_edge = len(result) % self.num_own == 0
                if placed[partner] or pulled >= quota or at_edge:
                    continue
                placed[partner] = True
                result.append(partner)
                pulled += 1
                if len(result) % self.num_own == 0:
                    pulled = 0
        return np.array(result, dtype=np.int64)

    def coverage(self, epoch: int) -> float:
        """The share of curated negatives whose two pairs meet in a batch of that epoch (1.0 when there are none)."""
        met = total = 0
        for batch in self.epoch(epoch):
            inside = set(batch)
            for pair in batch:
                partners = self.hard_partners[pair] if pair < len(self.hard_partners) else ()
                total += len(partners)
                met += sum(partner in inside for partner in partners)
        return met / total if total else 1.0
