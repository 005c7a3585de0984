"""The loop: a generator of events. Tests use `list(fine_tune(…))`; cancelling is closing the generator.

Everything that happens is a pure function of config, data, labels and step: batches from (seed, epoch), dropout from
(seed, step, micro-batch), the learning rate from the step. So a run that resumes from a checkpoint ends with the
same bits as one that was never stopped.
"""

import hashlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from clipcore.assemble import Assembler, Batch, further, hard_partners
from clipcore.batching import Composer
from clipcore.best import Best, recommend
from clipcore.checkpoint import State, load_checkpoint, save_checkpoint
from clipcore.config import FineTuneConfig
from clipcore.data import FineTuneData, items
from clipcore.distributed import agreed, from_first_rank, rank, share, sum_gradients, world_size
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
    Started,
    StepDone,
    Swept,
)
from clipcore.gradcache import Pass, cached_backward, saved_bytes, seeded
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
from clipcore.logits import Logits
from clipcore.look import Look
from clipcore.losses import make_loss
from clipcore.losses.sigmoid import calibrated_bias
from clipcore.optimiser import MovingAverage, learning_rate, make_optimiser
from clipcore.preflight import preflight
from clipcore.towers import Towers, load_towers, num_batch_norms, pick_device, truncated
from clipcore.weights import copy_of, mixed, put_on, wearing

SEEDS_A_STEP = 1 << 16  # four passes of at most 2¹⁴ micro-batches
CALIBRATION_PAIRS = 1024  # pairs whose cosines set the bias: their mean is known to three digits


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
    labels = labels or PairLabels.for_data(data)
    run = _Run(config, data, labels, Path(folder), stop, cache_folder)
    try:
        yield from run.events(towers, embeddings, probes, held_out_labels or labels)
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
        self._graph_bytes: int | None = None

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
        self.parameters = self.learner.parameters
        self._scalars(towers)
        self.look = Look(self.learner, self.data, self.items, held_out_labels, probes)
        self.start = copy_of(self.parameters)
        self.optimiser = make_optimiser(self.parameters, self.config.optimiser)
        self.average = self._average()
        self.best = Best(self.config.evaluation)
        self.before: dict[str, float] = {}
        self.step, remarks = self._resume()
        remarks += self._remarks(towers)
        yield Started(self.total_steps, self.step, remarks)
        if self.step == 0:
            yield from self._evaluated("before")
            self._calibrate()
        stopped = yield from self._steps()
        if stopped:
            yield Finished(self.step, stopped, None)
            return
        best_step = yield from self._choose()
        yield from self._evaluated("after")
        target = self.folder / "checkpoint"
        if rank() == 0:
            export(self.learner, target)
        yield Finished(self.step, "", target, best_step)

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

    def _scalars(self, towers: Towers) -> None:
        """The scale always learns; the bias where a sigmoid head uses it, made here when the model has none."""
        self.scale: Tensor = towers.model.logit_scale
        self.bias: Tensor | None = getattr(towers.model, "logit_bias", None)
        if self.bias is None and self.config.loss.heads.get("sigmoid"):
            self.bias = nn.Parameter(torch.zeros_like(self.scale))
        self.largest_scale = max(math.log(100.0), float(self.scale.detach()))
        for name, scalar in (("logit_scale", self.scale), ("logit_bias", self.bias)):
            if scalar is not None:
                scalar.requires_grad_(True)
                self.parameters.setdefault(name, scalar)

    @torch.no_grad()
    def _calibrate(self) -> None:
        """A sigmoid's bias where this batch size and these cosines give as many expected positives as there are."""
        if not (self.config.loss.calibrate_bias and self.config.loss.heads.get("sigmoid")):
            return
        batch = self._batch(self.composer.epoch(0)[0], 0)
        self.learner.train(False)
        m, n = self.config.batch.micro_batch, min(len(batch.examples), CALIBRATION_PAIRS)
        x = torch.cat([self.learner.images(part) for part in _chunks(batch.images[:n], m)])
        y = torch.cat([self.learner.captions(part) for part in _chunks(batch.captions[:n], m)])
        assert self.bias is not None
        self.bias.fill_(calibrated_bias(x, y, float(self.scale.exp()), batch_size=len(batch.examples)))

    def _average(self) -> MovingAverage | None:
        decay = self.config.optimiser.ema
        return MovingAverage(self.parameters, decay) if decay > 0 else None

    def _steps(self) -> Generator[Event, None, str]:
        start, began, last_save = self.step, time.monotonic(), time.monotonic()
        shown = self._preview_steps()
        self.learner.plan(self._coming())
        while self.step < self.total_steps:
            epoch, within = divmod(self.step, self.composer.steps_per_epoch)
            for numbers in self.composer.epoch(epoch)[within:]:
                loss = self._one_step(self._batch(numbers, epoch))
                yield self._step_done(loss, epoch, start, began)
                if self.step in shown and rank() == 0:
                    with wearing(self.parameters, self._shown_weights()):
                        yield from self.look.previews(self.step, None, top_k=self.config.evaluation.top_k)
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

    # -- one step --------------------------------------------------------------------------------------------

    def _batch(self, numbers: Sequence[int], epoch: int) -> Batch:
        return self.assembler.batch([self.examples[i] for i in numbers], epoch)

    def _coming(self) -> Iterator[tuple[int, list[int]]]:
        """The epoch and this rank's image numbers of each step to come, for the pictures to be decoded ahead."""
        batches: list[list[int]] = []
        for step in range(self.step, self.total_steps):
            epoch, within = divmod(step, self.composer.steps_per_epoch)
            if not batches or within == 0:
                batches = self.composer.epoch(epoch)
            passes = self._passes(self._batch(batches[within], epoch))
            towers = [p.micro_batches for p in passes if p.encode == self.learner.images]
            yield epoch, [n for parts in towers for k in share(len(parts)) for n in parts[k]]

    def _one_step(self, batch: Batch) -> float:
        self.learner.begin_step(self.step // self.composer.steps_per_epoch)
        self.loss.at(batch.images, batch.captions)
        passes = self._passes(batch)

        def loss(x_RD: Tensor, y_CD: Tensor, *extra: Tensor) -> Tensor:
            appended = iter(extra)
            logits = Logits(
                x_RD,
                y_CD,
                scale=self.scale.exp(),
                bias=self.bias,
                overlay=batch.overlay,
                further_captions=further(batch.further_captions, appended),
                further_images=further(batch.further_images, appended),
            )
            return self.loss(logits)

        self.optimiser.zero_grad(set_to_none=True)
        resident = self._num_resident(passes)
        value = float(cached_backward(passes, loss, num_resident=resident, device=self.device))
        if not math.isfinite(value):
            ids = ", ".join(f"{x.image_id} × {x.caption_id}" for x in batch.examples[:8])
            raise ClipcoreError(
                f"The loss is {value} at step {self.step + 1}: lower the learning rate "
                f"(now {self._lr():.2g}); the batch began with {ids}."
            )
        self._update()
        return value

    def _passes(self, batch: Batch) -> list[Pass]:
        """The towers' work: images, captions, and the appended ones of each; every pass has seeds of its own."""
        m = min(self.config.batch.micro_batch, -(-len(batch.images) // world_size()))
        first = (self.config.seed * 1_000_003 + self.step) * SEEDS_A_STEP
        images, captions = self.learner.images, self.learner.captions
        work = [(images, batch.images), (captions, batch.captions)]
        if batch.further_captions:
            work.append((captions, batch.further_captions.numbers))
        if batch.further_images:
            work.append((images, batch.further_images.numbers))
        return [
            Pass(encode, _chunks(numbers, m), first + k * SEEDS_A_STEP // 4)
            for k, (encode, numbers) in enumerate(work)
        ]

    def _num_resident(self, passes: Sequence[Pass]) -> int:
        if self.config.batch.num_resident >= 0:
            return self.config.batch.num_resident
        every = sum(len(share(len(p.micro_batches))) for p in passes)
        return every if self.config.model.train == "adapter" else min(every, self._fits(passes))

    def _fits(self, passes: Sequence[Pass]) -> int:
        """How many micro-batches' graphs fit the budget: the bytes of each tower's first one are measured once."""
        if self._graph_bytes is None:
            weights = list(self.learner.towers.model.parameters())
            with seeded(0, self.device):
                self._graph_bytes = max(saved_bytes(p.encode, p.micro_batches[0], weights) for p in passes)
        return int(self.config.batch.memory_gb * 1e9 / max(self._graph_bytes, 1))

    def _update(self) -> None:
        scalars = {id(self.scale), id(self.bias)}
        sum_gradients(p for p in self.parameters.values() if id(p) not in scalars)
        if self.config.optimiser.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.optimiser.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr() * group["lr_factor"]
        self.optimiser.step()
        with torch.no_grad():
            self.scale.clamp_(max=self.largest_scale)
        self.step += 1
        if self.average is not None:
            self.average.update(self.parameters, self.step)

    def _lr(self) -> float:
        return learning_rate(
            self.config.optimiser,
            self.step + 1,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
        )

    # -- looking ---------------------------------------------------------------------------------------------

    def _shown_weights(self) -> dict[str, Tensor] | None:
        """What is measured and exported while training goes on with the parameters themselves."""
        return None if self.average is None or self.step == 0 else self.average.mean

    def _evaluated(self, when: str) -> Iterator[Event]:
        """Measures on rank 0; all ranks learn the number by which the best weights are kept."""
        if not self.data.held_out:
            return
        value = 0.0
        weights = self._shown_weights() if when == "during" else None
        with wearing(self.parameters, weights):
            if rank() == 0:
                metrics, gallery = self.look.metrics()
                self.before = self.before or metrics
                if "retention_map_at_r" in metrics:
                    before = self.before.get("retention_map_at_r", math.nan)
                    metrics["retention_change"] = metrics["retention_map_at_r"] - before
                yield Evaluated(self.step, when, metrics, self.look.histograms(gallery))
                if when != "during":
                    yield from self.look.previews(self.step, gallery, top_k=self.config.evaluation.top_k)
                value = self.best.value(metrics) if when == "during" else 0.0
        if when == "during":
            self.best.offer(from_first_rank(value, self.device), self.step, weights or self.parameters)

    def _choose(self) -> Generator[Event, None, int]:
        """Puts on the weights to export (the mean, the best, a mix with the base) and says which step they are of."""
        put_on(self.parameters, self._shown_weights() or copy_of(self.parameters))
        chosen, evaluation = self.step, self.config.evaluation
        if evaluation.keep == "best" and self.best.weights is not None:
            last = self.best.value(self.look.metrics()[0]) if rank() == 0 else 0.0
            if from_first_rank(last, self.device) < self.best.metric:
                put_on(self.parameters, self.best.weights)
                chosen = self.best.step
        if evaluation.sweep >= 2:
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
        if shown <= 2 or not self.look.probes or not self.data.held_out:
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
            lr=self.optimiser.param_groups[0]["lr"],
            logit_scale=float(self.scale.detach().exp()),
            pairs_per_s=rate * self.config.batch.size,
            eta_s=(self.total_steps - self.step) / rate,
        )

    def _fingerprint(self) -> str:
        text = (
            self.config.to_yaml()
            + repr([(x.image_id, x.caption_id) for x in self.examples])
            + repr(self.labels.labels)
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _save(self) -> Saved:
        if rank() != 0:
            return Saved(self.step, self.folder)
        tensors = {f"parameter.{k}": p.detach() for k, p in self.parameters.items()}
        names = {id(p): k for k, p in self.parameters.items()}
        for parameter, state in self.optimiser.state.items():
            for key, value in state.items():
                tensors[f"optimiser.{key}.{names[id(parameter)]}"] = value
        tensors |= {f"average.{k}": v for k, v in (self.average.mean if self.average else {}).items()}
        tensors |= {f"best.{k}": v for k, v in (self.best.weights or {}).items()}
        tensors |= {f"loss.{k}": v for k, v in self.loss.state().items()}
        values = {
            "step": self.step,
            "fingerprint": self._fingerprint(),
            "config": self.config.to_yaml(),
            "before": self.before,
            "best": self.best.state(),
        }
        return Saved(self.step, save_checkpoint(self.folder / "checkpoints", State(tensors, values)))

    def _resume(self) -> tuple[int, list[str]]:
        state, remarks = load_checkpoint(self.folder / "checkpoints")
        if state is None:
            return 0, remarks
        if state.values["fingerprint"] != self._fingerprint():
            raise ClipcoreError(
                f"The checkpoints in {self.folder} belong to other data, labels or settings: choose an empty folder."
            )
        put_on(self.parameters, _under(state.tensors, "parameter."))
        for name, parameter in self.parameters.items():
            found = {k.split(".")[1]: v for k, v in state.tensors.items() if _belongs(k, name)}
            self.optimiser.state[parameter] = {
                k: v.clone() if k == "step" else v.clone().to(parameter.device) for k, v in found.items()
            }
        if self.average is not None:
            put_on(self.average.mean, _under(state.tensors, "average."))
        self.loss.load_state(_under(state.tensors, "loss."))
        self.best.load(state.values["best"], _under(state.tensors, "best."), self.parameters)
        self.before = dict(state.values["before"])
        return int(state.values["step"]), remarks


def _under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _belongs(key: str, name: str) -> bool:
    return key.startswith("optimiser.") and key.split(".", 2)[2] == name


def _chunks(numbers: Sequence[int], size: int) -> list[list[int]]:
    return [list(numbers[i : i + size]) for i in range(0, len(numbers), size)]


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
