"""The loop: a generator of events. Tests use `list(fine_tune(…))`; cancelling is closing the generator.

Everything that happens is a pure function of config, data, labels and step: batches from (seed, epoch), dropout from
(seed, step, micro-batch), the learning rate from the step. So a run that resumes from a checkpoint ends with the
same bits as one that was never stopped.
"""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor

from clipcore.arms import labels_of_arm
from clipcore.assemble import Assembler, Batch, hard_partners
from clipcore.batching import Composer
from clipcore.best import Best, recommend
from clipcore.checkpoint import State, load_checkpoint, save_checkpoint
from clipcore.config import FineTuneConfig
from clipcore.data import FineTuneData, items
from clipcore.distributed import agreed, from_first_rank, rank, world_size
from clipcore.errors import ClipcoreError
from clipcore.events import (
    EpochDone,
    Evaluated,
    Event,
    Finished,
    Mix,
    Preparing,
    Probe,
    Saved,
    SimilaritiesSeen,
    Started,
    StepDone,
    Swept,
)
from clipcore.labels import PairLabels
from clipcore.learner import (
    AdapterLearner,
    Embeddings,
    Learner,
    Source,
    TowerLearner,
    embed_captions,
    embed_images,
    export,
)
from clipcore.look import Look
from clipcore.losses import make_loss
from clipcore.preflight import preflight
from clipcore.step import Stepper, under
from clipcore.towers import Towers, load_towers, num_batch_norms, pick_device, truncated
from clipcore.weights import copy_of, mixed, put_on, wearing
from clipcore.xray import look_at_batch


def fine_tune(
    config: FineTuneConfig,
    data: FineTuneData,
    labels: PairLabels | None = None,
    *,
    folder: str | Path,
    held_out_labels: PairLabels | None = None,
    towers: Towers | None = None,
    embeddings: Embeddings | None = None,
    probes: Sequence[Probe] = (),
    stop: Callable[[], str | None] = lambda: None,
    cache_folder: str | Path | None = None,
) -> Iterator[Event]:
    """Trains and yields events; resumes from the newest whole checkpoint in `folder`.

    `held_out_labels` are verdicts on held-out candidates: a match is one more truth, a no_match is measured.
    `stop` is asked after each step; a reason makes it save a checkpoint and finish early. `embeddings` (of all images
    and captions, in the order of `items`) spare an adapter run its only pass through the towers; in a `cache_folder`
    those of towers that do not learn are found again by the next run. The result is `folder/checkpoint`, a plain
    open_clip folder. Raises ClipcoreError before anything starts when preflight refuses, and at the first loss that is
    not finite.
    """
    given = labels or PairLabels.for_data(data)
    labels = labels_of_arm(given, config.labels.use, seed=config.seed)
    run = _Run(config, data, labels, Path(folder), stop, cache_folder)
    try:
        yield from run.events(towers, embeddings, probes, held_out_labels or given)
    finally:
        run.close()


class _Run:
    def __init__(
        self,
        config: FineTuneConfig,
        data: FineTuneData,
        labels: PairLabels,
        folder: Path,
        stop: Callable[[], str | None],
        cache_folder: str | Path | None,
    ):
        self.cache_folder = cache_folder
        self.config, self.data, self.labels, self.folder, self.stop = config, data, labels, folder, stop
        self.items = items(data)
        train = [x for x in data.train if not labels.is_broken(x.image_id, x.caption_id)]
        self.examples = train + list(data.replay)
        texts = dict(zip(self.items.caption_ids, self.items.captions, strict=True))
        pairs = [(x.image_id, x.caption_id) for x in train]
        report = preflight(
            config, pairs, labels, captions=texts, num_ranks=world_size(), num_held_out=len(data.held_out)
        )
        report.refuse()
        self.total_steps, self.warmup_steps = report.steps, report.warmup_steps
        self.composer = Composer(
            num_pairs=len(train),
            batch_size=config.batch.size,
            seed=config.seed,
            hard_partners=hard_partners(train, labels),
            together=config.batch.together,
            replay=config.batch.replay,
            replay_from=self._replay_pool(len(train)),
        )
        self.assembler = Assembler(self.items, labels, config.labels)
        self.device = pick_device(config.device)
        self.loss = make_loss(config.loss, num_images=len(self.items.images), num_captions=len(texts))

    def _replay_pool(self, num_train: int) -> list[int]:
        if self.data.replay:
            first = self.data.replay[0]
            if not self.labels.for_batch([first.image_id], [first.caption_id]).target.any():
                raise ClipcoreError(
                    "The labels do not know the replay pairs: build them with PairLabels.for_data(data, labels)."
                )
            return list(range(num_train, len(self.examples)))
        touched = self.labels.touched()
        images, captions = {image for image, _ in touched}, {caption for _, caption in touched}
        return [
            i for i, x in enumerate(self.examples) if not (x.image_id in images or x.caption_id in captions)
        ]

    def close(self) -> None:
        """Ends the processes that decode pictures."""
        if hasattr(self, "learner"):
            self.learner.close()

    # -- the whole -------------------------------------------------------------------------------------------

    def events(
        self,
        towers: Towers | None,
        embeddings: Embeddings | None,
        probes: Sequence[Probe],
        held_out_labels: PairLabels,
    ) -> Iterator[Event]:
        torch.manual_seed(self.config.seed)
        towers = towers or load_towers(self.config.model)
        if self.config.precision == "fp64":
            towers.model.double()
        self.learner = yield from self._learner(towers, embeddings)
        self.look = Look(self.learner, self.data, self.items, held_out_labels, probes)
        self.stepper = Stepper(
            self.learner,
            self.loss,
            self.config,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
        )
        self.parameters = self.stepper.parameters
        self.start = copy_of(self.parameters)
        self.best = Best(self.config.evaluation)
        self.before: dict[str, float] = {}
        remarks = self._resume() + self._remarks(towers)
        yield Started(self.total_steps, self.step, remarks)
        if self.step == 0:
            yield from self._evaluated("before")
            yield from self._batch_seen()
            self.stepper.calibrate(self._batch(self.composer.epoch(0)[0], 0))
        stopped = yield from self._steps()
        if stopped:
            yield Finished(self.step, stopped, None)
            return
        best_step = yield from self._choose()
        yield from self._evaluated("after")
        yield from self._batch_seen()
        target = self.folder / "checkpoint"
        if rank() == 0:
            export(self.learner, target)
        yield Finished(self.step, "", target, best_step)

    @property
    def step(self) -> int:
        return self.stepper.number

    def _remarks(self, towers: Towers) -> list[str]:
        said = []
        cut = truncated(towers, self.items.captions)
        if cut:
            said.append(
                f"{cut} of {len(self.items.captions)} captions are longer than {towers.context_length} tokens"
                " and lose their end."
            )
        found = num_batch_norms(towers.model) if self.config.model.train != "adapter" else 0
        if found:
            said.append(
                f"{found} BatchNorm layers keep their statistics: cached and plain steps would differ."
            )
        return said

    def _learner(self, towers: Towers, embeddings: Embeddings | None) -> Generator[Event, None, Learner]:
        towers.model.to(self.device)
        if self.config.model.train != "adapter":
            learner = TowerLearner(towers, self._source(towers), self.config, self.device)
            for done, total in learner.prepare():
                yield Preparing(done, total)
            return learner
        towers.model.requires_grad_(False)
        if embeddings is None:
            embeddings = yield from _embed_all(towers, self._source(towers), self.device)
        return AdapterLearner(towers, embeddings, self.device)

    def _source(self, towers: Towers) -> Source:
        return Source(
            towers,
            self.items.images,
            self.items.captions,
            self.config,
            cache_folder=self.cache_folder,
            image_ids=self.items.image_ids,
        )

    def _steps(self) -> Generator[Event, None, str]:
        start, began, last_save = self.step, time.monotonic(), time.monotonic()
        shown = self._preview_steps()
        self.learner.plan(self._coming())
        while self.step < self.total_steps:
            epoch, within = divmod(self.step, self.composer.steps_per_epoch)
            for numbers in self.composer.epoch(epoch)[within:]:
                self.learner.begin_step(epoch)
                loss = self.stepper.take(self._batch(numbers, epoch))
                yield self._step_done(loss, epoch, start, began)
                if self.step in shown and rank() == 0:
                    with wearing(self.parameters, self.stepper.shown_weights):
                        yield from self._glance()
                reason = agreed(self.stop(), self.device)
                if reason or time.monotonic() - last_save > self.config.save_every_s:
                    yield self._save()
                    last_save = time.monotonic()
                if reason:
                    return reason
                if self.step >= self.total_steps:
                    break
            yield EpochDone(epoch, self._coverage(epoch))
            every = self.config.evaluation.every_epochs
            if every and (epoch + 1) % every == 0 and self.step < self.total_steps:
                yield from self._evaluated("during")
                if self.best.is_stale:
                    break
        return ""

    def _coverage(self, epoch: int) -> float:
        batches = self.composer.epoch(epoch)
        return self.assembler.coverage([[self.examples[i] for i in batch] for batch in batches], epoch)

    # -- batches ---------------------------------------------------------------------------------------------

    def _batch(self, numbers: Sequence[int], epoch: int) -> Batch:
        return self.assembler.batch([self.examples[i] for i in numbers], epoch)

    def _coming(self) -> Iterator[tuple[int, list[int]]]:
        """The epoch and this rank's image numbers of each step to come, for the pictures to be decoded ahead."""
        batches: list[list[int]] = []
        for step in range(self.step, self.total_steps):
            epoch, within = divmod(step, self.composer.steps_per_epoch)
            if not batches or within == 0:
                batches = self.composer.epoch(epoch)
            yield epoch, self.stepper.image_numbers(self._batch(batches[within], epoch))

    # -- looking ---------------------------------------------------------------------------------------------

    def _evaluated(self, when: str) -> Iterator[Event]:
        """Measures on rank 0; all ranks learn the number by which the best weights are kept."""
        if not self.data.held_out:
            return
        value = 0.0
        weights = self.stepper.shown_weights if when == "during" else None
        with wearing(self.parameters, weights):
            if rank() == 0:
                metrics, gallery = self.look.metrics()
                self.before = self.before or metrics
                if "retention_map_at_r" in metrics:
                    before = self.before.get("retention_map_at_r", math.nan)
                    metrics["retention_change"] = metrics["retention_map_at_r"] - before
                queries = None if when == "during" else self.look.queries(gallery)
                yield Evaluated(self.step, when, metrics, self.look.histograms(gallery), queries)
                if when != "during":
                    yield from self.look.previews(self.step, gallery, top_k=self.config.evaluation.top_k)
                value = self.best.value(metrics) if when == "during" else 0.0
        if when == "during":
            self.best.offer(from_first_rank(value, self.device), self.step, weights or self.parameters)

    def _glance(self) -> Iterator[Event]:
        """What the probes find, the similarities and a batch, between two evaluations."""
        gallery = self.look.gallery(self.data.held_out)
        yield from self.look.previews(self.step, gallery, top_k=self.config.evaluation.top_k)
        yield SimilaritiesSeen(self.step, self.look.histograms(gallery))
        yield from self._batch_seen()

    def _batch_seen(self) -> Iterator[Event]:
        """The first batch of the first epoch, whenever it is looked at."""
        if rank() == 0 and self.config.evaluation.previews:
            yield look_at_batch(
                self.learner, self.items, self._batch(self.composer.epoch(0)[0], 0), self.step
            )

    def _choose(self) -> Generator[Event, None, int]:
        """Puts on the weights to export (the mean, the best, a mix with the base) and says which step they are of."""
        put_on(self.parameters, self.stepper.shown_weights or copy_of(self.parameters))
        chosen, evaluation = self.step, self.config.evaluation
        if evaluation.keep == "best" and self.best.weights is not None:
            last = self.best.value(self.look.metrics()[0]) if rank() == 0 else 0.0
            if from_first_rank(last, self.device) < self.best.metric:
                put_on(self.parameters, self.best.weights)
                chosen = self.best.step
        if evaluation.sweep >= 2 and self.data.held_out:
            end = copy_of(self.parameters)
            share_of_tuned = 1.0
            if rank() == 0:
                mixes = [self._mix(end, k / (evaluation.sweep - 1)) for k in range(evaluation.sweep)]
                share_of_tuned = recommend(mixes, evaluation.metric)
                yield Swept(self.step, mixes, share_of_tuned)
            share_of_tuned = from_first_rank(share_of_tuned, self.device)
            if evaluation.export_mix == "recommended":
                put_on(self.parameters, mixed(self.start, end, share_of_tuned))
        return chosen

    def _mix(self, end: dict[str, Tensor], share_of_tuned: float) -> Mix:
        with wearing(self.parameters, mixed(self.start, end, share_of_tuned)):
            return Mix(share_of_tuned, self.look.metrics()[0])

    def _preview_steps(self) -> set[int]:
        shown = self.config.evaluation.previews
        if shown <= 2 or not self.data.held_out:
            return set()
        return {round(i * self.total_steps / (shown - 1)) for i in range(1, shown - 1)}

    # -- events and checkpoints ------------------------------------------------------------------------------

    def _step_done(self, loss: float, epoch: int, start: int, began: float) -> StepDone:
        spent = max(time.monotonic() - began, 1e-9)
        rate = (self.step - start) / spent
        return StepDone(
            step=self.step,
            total_steps=self.total_steps,
            epoch=epoch,
            loss=loss,
            parts=dict(self.loss.last),
            lr=self.stepper.lr,
            logit_scale=float(self.stepper.scale.detach().exp()),
            pairs_per_s=rate * self.config.batch.size,
            eta_s=(self.total_steps - self.step) / rate,
        )

    def _fingerprint(self) -> str:
        """What decides the bits. Where the model lies and what computes are not among it: another machine may go on."""
        model = replace(self.config.model, name=self.config.model.name.rsplit("/", 1)[-1])
        text = (
            replace(self.config, model=model, device="auto", save_every_s=0.0).to_yaml()
            + repr([(x.image_id, x.caption_id) for x in self.examples])
            + repr(self.labels.labels)
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _save(self) -> Saved:
        if rank() != 0:
            return Saved(self.step, self.folder)
        tensors = self.stepper.tensors() | {f"best.{k}": v for k, v in (self.best.weights or {}).items()}
        values = {
            "step": self.step,
            "fingerprint": self._fingerprint(),
            "config": self.config.to_yaml(),
            "before": self.before,
            "best": self.best.state(),
        }
        return Saved(self.step, save_checkpoint(self.folder / "checkpoints", State(tensors, values)))

    def _resume(self) -> list[str]:
        state, remarks = load_checkpoint(self.folder / "checkpoints")
        if state is None:
            return remarks
        if state.values["fingerprint"] != self._fingerprint():
            raise ClipcoreError(
                f"The checkpoints in {self.folder} belong to other data, labels or settings: choose an empty folder."
            )
        self.stepper.load(state.tensors, int(state.values["step"]))
        self.best.load(state.values["best"], under(state.tensors, "best."), self.parameters)
        self.before = dict(state.values["before"])
        return remarks


def _embed_all(towers: Towers, source: Source, device: torch.device) -> Generator[Event, None, Embeddings]:
    total, done = source.num_images + source.num_captions, 0
    parts: list[list[Tensor]] = [[], []]
    for kind, embed, count in (
        (0, embed_images, source.num_images),
        (1, embed_captions, source.num_captions),
    ):
        for chunk in embed(towers, source, range(count), device):
            parts[kind].append(chunk)
            done += len(chunk)
            yield Preparing(done, total)
    return Embeddings(torch.cat(parts[0]), torch.cat(parts[1]))
