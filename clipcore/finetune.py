"""The loop: a generator of events. Tests use `list(fine_tune(…))`; cancelling is closing the generator.

Everything that happens is a pure function of config, data, labels and step: batches from (seed, epoch), dropout from
(seed, step, micro-batch), the learning rate from the step. So a run that resumes from a checkpoint ends with the
same bits as one that was never stopped.
"""

import hashlib
import math
import re
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from clipcore.batching import Composer
from clipcore.checkpoint import State, load_checkpoint, save_checkpoint
from clipcore.config import FineTuneConfig
from clipcore.data import Example, FineTuneData
from clipcore.distributed import rank, sum_gradients, world_size
from clipcore.errors import ClipcoreError
from clipcore.evaluate import geometry, hard_negative_accuracy, retrieval_metrics
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
from clipcore.logits import Further, Logits
from clipcore.losses import WeightedSum, make_head
from clipcore.preflight import preflight
from clipcore.towers import Towers, load_towers, pick_device


@dataclass(frozen=True)
class Probe:
    """A query to watch: a text, or an image of the data by its id."""

    id: str
    text: str | None = None
    image_id: str | None = None


@dataclass(frozen=True)
class Started:
    """Preparation is over. `resumed_from` is the step of the checkpoint, 0 on a fresh start."""

    total_steps: int
    resumed_from: int
    remarks: list[str]


@dataclass(frozen=True)
class Preparing:
    """Embeddings that are computed once: `done` of `total` items."""

    done: int
    total: int


@dataclass(frozen=True)
class StepDone:
    """One optimiser step; rates over this session, times in seconds."""

    step: int
    total_steps: int
    epoch: int
    loss: float
    parts: dict[str, float]
    lr: float
    logit_scale: float
    pairs_per_s: float
    eta_s: float


@dataclass(frozen=True)
class Evaluated:
    """Held-out metrics; `when` is before, during or after."""

    step: int
    when: str
    metrics: dict[str, float]


@dataclass(frozen=True)
class Previewed:
    """A probe's results at a step: ids of the held-out gallery, best first, and their cosines."""

    step: int
    probe_id: str
    result_ids: list[str]
    scores: list[float]


@dataclass(frozen=True)
class Saved:
    """A checkpoint to resume from."""

    step: int
    path: Path


@dataclass(frozen=True)
class Finished:
    """The end. `stopped` names why it ended early ("" when it ran through); `checkpoint` is a plain open_clip folder."""

    step: int
    stopped: str
    checkpoint: Path | None


Event = Started | Preparing | StepDone | Evaluated | Previewed | Saved | Finished


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
) -> Iterator[Event]:
    """Trains and yields events; resumes from the newest whole checkpoint in `folder`.

    `held_out_labels` are verdicts on held-out candidates: a match is one more truth, a no_match is measured.
    `stop` is asked after each step; a reason makes it save a checkpoint and finish early. `embeddings` (of all images
    and captions, in the order of `items`) spare an adapter run its only pass through the towers. The result is
    `folder/checkpoint`, a plain open_clip folder. Raises ClipcoreError before anything starts when preflight refuses,
    and at the first loss that is not finite.
    """
    labels = labels or PairLabels(pairs=[(x.image_id, x.caption_id) for x in data.train])
    run = _Run(config, data, labels, Path(folder), probes, stop)
    run.held_out_labels = held_out_labels or labels
    yield from run.events(towers, embeddings)


@dataclass(frozen=True)
class Items:
    """Every image and caption of the data once, numbered; pairs as numbers."""

    image_ids: list[str]
    images: list[Any]
    caption_ids: list[str]
    captions: list[str]
    image_number: dict[str, int] = field(repr=False)
    caption_number: dict[str, int] = field(repr=False)


def items(data: FineTuneData) -> Items:
    """Numbers the images and captions of train, held-out and extra captions in order of appearance."""
    images: dict[str, Any] = {}
    captions: dict[str, str] = {}
    for example in (*data.train, *data.held_out):
        images.setdefault(example.image_id, example.image)
        captions.setdefault(example.caption_id, example.caption)
    captions = captions | {k: v for k, v in data.extra_captions.items() if k not in captions}
    return Items(
        list(images),
        list(images.values()),
        list(captions),
        list(captions.values()),
        {k: i for i, k in enumerate(images)},
        {k: i for i, k in enumerate(captions)},
    )


def layer_factors(names: Sequence[str], decay: float) -> dict[str, float]:
    """The share of the learning rate for each parameter: decay^(blocks between it and its tower's output).

    What comes before the first block (patches, tokens, positions) counts as one block further down; what has no
    place in a tower (projections, last norms, scalars, adapters) learns at the full rate.
    """
    depth = {name: _depth(name) for name in names}
    last = {
        tower: max(d for t, d in depth.values() if t == tower) for tower in {t for t, _ in depth.values()}
    }
    return {name: decay ** (last[tower] - at) if at >= -1 else 1.0 for name, (tower, at) in depth.items()}


BLOCK = re.compile(r"^(visual\.|text\.)?.*?(?:resblocks|blocks|layers?)\.(\d+)\.")
STEM = re.compile(
    r"conv1|class_embedding|positional_embedding|token_embedding|ln_pre|patch_embed|pos_embed|cls_token"
)
TOP = -2


def _depth(name: str) -> tuple[str, int]:
    """The tower, and the number of the block; −1 before the first, TOP after the last."""
    tower = "visual" if name.startswith("visual.") else "text"
    block = BLOCK.match(name)
    return tower, int(block[2]) if block else -1 if STEM.search(name) else TOP


class _Run:
    def __init__(
        self,
        config: FineTuneConfig,
        data: FineTuneData,
        labels: PairLabels,
        folder: Path,
        probes: Sequence[Probe],
        stop: Callable[[], str | None],
    ):
        self.config, self.labels, self.folder = config, labels, folder
        self.probes, self.stop = probes, stop
        self.held_out_labels = labels
        self._graph_bytes: int | None = None
        self.items = items(data)
        self.train = [x for x in data.train if not labels.is_broken(x.image_id, x.caption_id)]
        self.held_out = list(data.held_out)
        pairs = [(x.image_id, x.caption_id) for x in self.train]
        texts = dict(zip(self.items.caption_ids, self.items.captions, strict=True))
        report = preflight(config, pairs, labels, captions=texts, num_ranks=world_size())
        report.refuse()
        self.total_steps = report.steps
        self.warmup_steps = report.warmup_steps
        self.composer = Composer(
            num_pairs=len(self.train),
            batch_size=config.batch.size,
            seed=config.seed,
            hard_partners=self._hard_partners(),
            together=config.batch.together,
        )
        self.device = pick_device(config.device)
        self.loss = WeightedSum(
            [
                (n, w, make_head(n, **config.loss.options.get(n, {})))
                for n, w in config.loss.heads.items()
                if w
            ]
        )

    # -- the whole -------------------------------------------------------------------------------------------

    def events(self, towers: Towers | None, embeddings: Embeddings | None) -> Iterator[Event]:
        torch.manual_seed(self.config.seed)
        towers = towers or load_towers(self.config.model)
        self.scale, self.bias = towers.model.logit_scale, getattr(towers.model, "logit_bias", None)
        learner = yield from self._learner(towers, embeddings)
        self.learner = learner
        self._scalars(learner)
        self.optimiser = self._make_optimiser()
        step, remarks = self._resume()
        yield Started(self.total_steps, step, remarks)
        if step == 0:
            yield from self._look(0, "before")
        stopped = yield from self._steps(step)
        if stopped:
            yield Finished(self.step, stopped, None)
            return
        yield from self._look(self.step, "after")
        target = self.folder / "checkpoint"
        if rank() == 0:
            export(learner, target)
        yield Finished(self.step, "", target)

    def _learner(self, towers: Towers, embeddings: Embeddings | None) -> Generator[Event, None, Learner]:
        towers.model.to(self.device)
        if self.config.model.train != "adapter":
            source = Source(towers, self.items.images, self.items.captions, self.config)
            return TowerLearner(towers, source, self.config, self.device)
        towers.model.requires_grad_(False)
        if embeddings is None:
            source = Source(towers, self.items.images, self.items.captions, self.config)
            embeddings = yield from _embed_all(towers, source, self.device)
        return AdapterLearner(towers, embeddings, self.device)

    def _scalars(self, learner: Learner) -> None:
        for name, scalar in (("logit_scale", self.scale), ("logit_bias", self.bias)):
            if scalar is not None:
                scalar.requires_grad_(True)
                learner.parameters.setdefault(name, scalar)

    def _steps(self, start: int) -> Generator[Event, None, str]:
        self.step = start
        began, last_save = time.monotonic(), time.monotonic()
        shown = self._preview_steps()
        per_epoch = self.composer.steps_per_epoch
        while self.step < self.total_steps:
            epoch, within = divmod(self.step, per_epoch)
            for batch in self.composer.epoch(epoch)[within:]:
                loss = self._one_step(batch, epoch)
                self.step += 1
                yield self._step_done(loss, epoch, start, began)
                if self.step in shown:
                    yield from self._previews(self.step)
                reason = self.stop()
                due = time.monotonic() - last_save > self.config.save_every_s
                if reason or due:
                    yield self._save()
                    last_save = time.monotonic()
                if reason:
                    return reason
                if self.step >= self.total_steps:
                    break
            every = self.config.evaluation.every_epochs
            if every and (epoch + 1) % every == 0 and self.step < self.total_steps:
                yield from self._look(self.step, "during", previews=False)
        return ""

    # -- one step --------------------------------------------------------------------------------------------

    def _one_step(self, batch: list[int], epoch: int) -> float:
        self.learner.train(True)
        examples = [self.train[i] for i in batch[: len(batch) // world_size() * world_size()]]
        overlay = self.labels.for_batch([x.image_id for x in examples], [x.caption_id for x in examples])
        owner, caption, weight, margin = self._further(examples, epoch)
        mine = slice(rank() * len(examples) // world_size(), (rank() + 1) * len(examples) // world_size())
        images = [self.items.image_number[x.image_id] for x in examples[mine]]
        captions = [self.items.caption_number[x.caption_id] for x in examples[mine]]
        own_extra = caption[
            rank() * len(caption) // world_size() : (rank() + 1) * len(caption) // world_size()
        ]
        passes = self._passes(images, captions, own_extra)

        def loss(x_RD: Tensor, y_CD: Tensor, *extra: Tensor) -> Tensor:
            further = None
            if extra:
                further = Further(
                    extra[0],
                    torch.as_tensor(owner, device=self.device),
                    torch.as_tensor(weight, dtype=torch.float32, device=self.device).log(),
                    torch.as_tensor(margin, dtype=torch.float32, device=self.device),
                )
            scale = self.scale.exp()
            logits = Logits(
                x_RD, y_CD, scale=scale, bias=self.bias, overlay=overlay, further_captions=further
            )
            return self.loss(logits)

        self.optimiser.zero_grad(set_to_none=True)
        value = float(
            cached_backward(passes, loss, num_resident=self._num_resident(passes), device=self.device)
        )
        if not math.isfinite(value):
            ids = ", ".join(f"{x.image_id} × {x.caption_id}" for x in examples[:8])
            raise ClipcoreError(
                f"The loss is {value} at step {self.step + 1}: lower the learning rate (now {self._lr():.2g}); "
                f"the batch began with {ids}."
            )
        self._update()
        return value

    def _passes(self, images: list[int], captions: list[int], extra: list[int]) -> list[Pass]:
        m = self.config.batch.micro_batch
        first = (self.config.seed * 1_000_003 + self.step) * 65_536 + rank() * 16_384
        passes = [
            Pass(self.learner.images, _chunks(images, m), first),
            Pass(self.learner.captions, _chunks(captions, m), first + 4_096),
        ]
        if extra:
            passes.append(Pass(self.learner.captions, _chunks(extra, m), first + 8_192))
        return passes

    def _num_resident(self, passes: Sequence[Pass]) -> int:
        if self.config.batch.num_resident >= 0:
            return self.config.batch.num_resident
        every = sum(len(p.micro_batches) for p in passes)
        return every if self.config.model.train == "adapter" else min(every, self._fits(passes))

    def _fits(self, passes: Sequence[Pass]) -> int:
        """How many micro-batches' graphs fit the budget: the bytes of each tower's first one are measured once."""
        if self._graph_bytes is None:
            weights = list(self.learner.towers.model.parameters())
            with seeded(0, self.device):
                self._graph_bytes = max(saved_bytes(p.encode, p.micro_batches[0], weights) for p in passes)
        return int(self.config.batch.memory_gb * 1e9 / max(self._graph_bytes, 1))

    def _update(self) -> None:
        parameters = list(self.learner.parameters.values())
        scalars = {id(self.scale), id(self.bias)}
        sum_gradients(p for p in parameters if id(p) not in scalars)
        if self.config.optimiser.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(parameters, self.config.optimiser.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self._lr() * group["lr_factor"]
        self.optimiser.step()
        with torch.no_grad():
            self.scale.clamp_(max=max(math.log(100.0), self._scale_at_start))

    def _lr(self) -> float:
        peak, step = self.config.optimiser.lr, self.step + 1
        if step <= self.warmup_steps:
            return peak * step / self.warmup_steps
        if self.config.optimiser.schedule == "constant":
            return peak
        progress = (step - self.warmup_steps) / max(1, self.total_steps - self.warmup_steps)
        return peak * 0.5 * (1 + math.cos(math.pi * progress))

    def _make_optimiser(self) -> torch.optim.Optimizer:
        o = self.config.optimiser
        self._scale_at_start = float(self.scale.detach())
        factors = layer_factors(list(self.learner.parameters), o.layer_decay)
        groups: dict[tuple[float, float], list[Tensor]] = {}
        for name, p in self.learner.parameters.items():
            groups.setdefault((o.weight_decay if p.ndim >= 2 else 0.0, factors[name]), []).append(p)
        options = [
            {"params": found, "weight_decay": decay, "lr_factor": factor}
            for (decay, factor), found in groups.items()
        ]
        return torch.optim.AdamW(options, lr=o.lr, betas=(o.beta1, o.beta2), eps=o.eps)

    # -- labels in a batch -----------------------------------------------------------------------------------

    def _hard_partners(self) -> list[list[int]]:
        """For each pair, the pairs whose caption is a curated negative of its image."""
        by_caption: dict[str, list[int]] = {}
        for i, example in enumerate(self.train):
            by_caption.setdefault(example.caption_id, []).append(i)
        return [
            [
                j
                for label in self.labels.hard_captions(x.image_id)
                for j in by_caption.get(label.caption_id, [])
            ]
            for x in self.train
        ]

    def _further(
        self, examples: Sequence[Example], epoch: int
    ) -> tuple[list[int], list[int], list[float], list[float]]:
        """Appended captions: owner row, caption number, λ and margin; those that are columns already are listed there.

        Padded with weightless copies to a multiple of the processes, so that every rank embeds as many.
        """
        most = self.config.labels.hard_negatives_per_row
        present = {x.caption_id for x in examples}
        owner: list[int] = []
        caption: list[int] = []
        weight: list[float] = []
        margin: list[float] = []
        for row, example in enumerate(examples):
            hard = [x for x in self.labels.hard_captions(example.image_id) if x.caption_id not in present]
            hard = [x for x in hard if x.caption_id in self.items.caption_number]
            turn = epoch * most % len(hard) if len(hard) > most else 0
            for label in (hard[turn:] + hard[:turn])[:most]:
                owner.append(row)
                caption.append(self.items.caption_number[label.caption_id])
                weight.append(label.weight)
                margin.append(label.margin)
        while caption and len(caption) % world_size():
            owner.append(owner[-1])
            caption.append(caption[-1])
            weight.append(0.0)
            margin.append(0.0)
        return owner, caption, weight, margin

    # -- looking ---------------------------------------------------------------------------------------------

    def _look(self, step: int, when: str, *, previews: bool = True) -> Iterator[Event]:
        gallery = self._gallery()
        if gallery is None:
            return
        yield Evaluated(step, when, self._metrics(*gallery))
        if previews:
            yield from self._previews(step, gallery)

    def _gallery(self) -> tuple[list[str], Tensor, list[str], Tensor] | None:
        """The held-out images and captions with their present embeddings; None without held-out pairs."""
        if not self.held_out or rank() != 0:
            return None
        image_ids = list(dict.fromkeys(x.image_id for x in self.held_out))
        caption_ids = list(dict.fromkeys(x.caption_id for x in self.held_out))
        self.learner.train(False)
        with torch.no_grad():
            image = self._chunked(self.learner.images, [self.items.image_number[i] for i in image_ids])
            caption = self._chunked(
                self.learner.captions, [self.items.caption_number[c] for c in caption_ids]
            )
        return image_ids, image, caption_ids, caption

    def _chunked(self, encode: Callable[[Sequence[int]], Tensor], numbers: list[int]) -> Tensor:
        return torch.cat([encode(part).float().cpu() for part in _chunks(numbers, 256)])

    def _metrics(
        self, image_ids: list[str], image: Tensor, caption_ids: list[str], caption: Tensor
    ) -> dict[str, float]:
        overlay = self.held_out_labels.for_batch(image_ids, caption_ids)
        i_at = {k: i for i, k in enumerate(image_ids)}
        c_at = {k: i for i, k in enumerate(caption_ids)}
        own = {(i_at[x.image_id], c_at[x.caption_id]) for x in self.held_out}
        true = own | {
            (int(r), int(c))
            for r, c, t in zip(overlay.row, overlay.col, overlay.target, strict=True)
            if t > 0
        }
        triples = [
            (i_at[x.image_id], c_at[x.caption_id], c_at[label.caption_id])
            for x in self.held_out
            for label in self.held_out_labels.hard_captions(x.image_id)
            if label.caption_id in c_at
        ]
        pairs = torch.tensor(sorted(own))
        metrics = retrieval_metrics(image, caption, sorted(true)) | geometry(
            image[pairs[:, 0]], caption[pairs[:, 1]]
        )
        return metrics | {"hard_negative_accuracy": hard_negative_accuracy(image, caption, triples)}

    def _preview_steps(self) -> set[int]:
        shown = self.config.evaluation.previews
        return (
            {round(i * self.total_steps / (shown - 1)) for i in range(1, shown - 1)} if shown > 2 else set()
        )

    def _previews(
        self, step: int, gallery: tuple[list[str], Tensor, list[str], Tensor] | None = None
    ) -> Iterator[Event]:
        gallery = gallery or (self._gallery() if self.probes else None)
        if gallery is None or not self.probes:
            return
        image_ids, image, caption_ids, caption = gallery
        for probe in self.probes:
            query, places, ids = self._query(probe, image, caption, image_ids, caption_ids)
            if query is None:
                continue
            top = (places @ query).topk(min(self.config.evaluation.top_k, len(ids)))
            found = [ids[i] for i in top.indices.tolist()]
            yield Previewed(step, probe.id, found, [round(v, 4) for v in top.values.tolist()])

    def _query(
        self, probe: Probe, image: Tensor, caption: Tensor, image_ids: list[str], caption_ids: list[str]
    ) -> tuple[Tensor | None, Tensor, list[str]]:
        with torch.no_grad():
            if probe.text is not None:
                if probe.text in self.items.captions:
                    number = self.items.captions.index(probe.text)
                    return self.learner.captions([number])[0].float().cpu(), image, image_ids
                query = self.learner.towers.captions(self.learner.towers.tokens([probe.text]).to(self.device))
                if isinstance(self.learner, AdapterLearner):
                    query = self.learner.adapter.captions(query)
                return query[0].float().cpu(), image, image_ids
            number_or_none = self.items.image_number.get(probe.image_id or "")
            if number_or_none is None:
                return None, image, image_ids
            return self.learner.images([number_or_none])[0].float().cpu(), caption, caption_ids

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
            + repr([(x.image_id, x.caption_id) for x in self.train])
            + repr(self.labels.labels)
        )
        return hashlib.sha256(text.encode()).hexdigest()

    def _save(self) -> Saved:
        tensors = {f"parameter.{k}": p.detach() for k, p in self.learner.parameters.items()}
        names = {id(p): k for k, p in self.learner.parameters.items()}
        for parameter, state in self.optimiser.state.items():
            for key, value in state.items():
                tensors[f"optimiser.{key}.{names[id(parameter)]}"] = value
        values = {"step": self.step, "fingerprint": self._fingerprint()}
        path = (
            save_checkpoint(self.folder / "checkpoints", State(tensors, values))
            if rank() == 0
            else self.folder
        )
        return Saved(self.step, path)

    def _resume(self) -> tuple[int, list[str]]:
        state, remarks = load_checkpoint(self.folder / "checkpoints")
        if state is None:
            return 0, remarks
        if state.values["fingerprint"] != self._fingerprint():
            raise ClipcoreError(
                f"The checkpoints in {self.folder} belong to other data, labels or settings: choose an empty folder."
            )
        with torch.no_grad():
            for name, parameter in self.learner.parameters.items():
                parameter.copy_(state.tensors[f"parameter.{name}"])
                found = {k.split(".")[1]: v for k, v in state.tensors.items() if _belongs(k, name)}
                self.optimiser.state[parameter] = {
                    k: v.clone() if k == "step" else v.clone().to(parameter.device) for k, v in found.items()
                }
        return int(state.values["step"]), remarks


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
