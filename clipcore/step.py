"""One optimiser step, and everything that it changes: weights, optimiser, their mean, the heads' memory, the position.

R rows (images), C columns (captions), D embedding.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from clipcore.assemble import Batch, further
from clipcore.config import FineTuneConfig
from clipcore.distributed import share, sum_gradients, world_size
from clipcore.errors import LossNotFinite
from clipcore.gradcache import Pass, cached_backward, saved_bytes, seeded
from clipcore.learner import Learner
from clipcore.logits import Logits
from clipcore.losses import WeightedSum
from clipcore.losses.sigmoid import calibrated_bias
from clipcore.optimiser import MovingAverage, learning_rate, make_optimiser
from clipcore.weights import Weights, put_on

SEEDS_A_STEP = 1 << 16  # four passes of at most 2¹⁴ micro-batches
CALIBRATION_PAIRS = 1024  # pairs whose cosines set the bias: their mean is known to three digits


class Stepper:
    """Takes steps; `number` counts those taken. A step is a function of the batch, the number and the seed."""

    def __init__(
        self,
        learner: Learner,
        loss: WeightedSum,
        config: FineTuneConfig,
        *,
        total_steps: int,
        warmup_steps: int,
    ):
        self.learner, self.loss, self.config = learner, loss, config
        self.total_steps, self.warmup_steps = total_steps, warmup_steps
        self.number = 0
        self.parameters = learner.parameters
        self._scalars()
        self.optimiser = make_optimiser(self.parameters, config.optimiser)
        decay = config.optimiser.ema
        self.average = MovingAverage(self.parameters, decay) if decay > 0 else None
        self._graph_bytes: int | None = None

    def take(self, batch: Batch) -> float:
        """The loss of the batch before the step. Raises ClipcoreError, and changes nothing, where it is not finite."""
        self.loss.at(batch.images, batch.captions)
        passes = self.passes(batch)

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
        device = self.learner.device
        value = float(cached_backward(passes, loss, num_resident=self._num_resident(passes), device=device))
        if not math.isfinite(value):
            ids = ", ".join(f"{x.image_id} × {x.caption_id}" for x in batch.examples[:8])
            raise LossNotFinite(
                f"The loss is {value} at step {self.number + 1}: lower the learning rate "
                f"(now {self._next_lr():.2g}); the batch began with {ids}.",
                [(x.image_id, x.caption_id) for x in batch.examples],
            )
        self._update()
        return value

    def passes(self, batch: Batch) -> list[Pass]:
        """The towers' work: images, captions, and the appended ones of each; every pass has seeds of its own."""
        m = min(self.config.batch.micro_batch, -(-len(batch.images) // world_size()))
        first = (self.config.seed * 1_000_003 + self.number) * SEEDS_A_STEP
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

    def image_numbers(self, batch: Batch) -> list[int]:
        """The images that this rank will encode for a batch, in the order of use."""
        towers = [p.micro_batches for p in self.passes(batch) if p.encode == self.learner.images]
        return [n for parts in towers for k in share(len(parts)) for n in parts[k]]

    @torch.no_grad()
    def calibrate(self, batch: Batch) -> None:
        """A sigmoid's bias where this batch size and these cosines give as many expected positives as there are."""
        if self.bias is None or not (
            self.config.loss.calibrate_bias and self.config.loss.heads.get("sigmoid")
        ):
            return
        self.learner.train(False)
        m, n = self.config.batch.micro_batch, min(len(batch.examples), CALIBRATION_PAIRS)
        x = torch.cat([self.learner.images(part) for part in _chunks(batch.images[:n], m)])
        y = torch.cat([self.learner.captions(part) for part in _chunks(batch.captions[:n], m)])
        self.bias.fill_(calibrated_bias(x, y, float(self.scale.exp()), batch_size=len(batch.examples)))

    @property
    def shown_weights(self) -> Weights | None:
        """What is measured and exported while training goes on with the parameters; None: the parameters themselves."""
        return None if self.average is None or self.number == 0 else self.average.mean

    @property
    def lr(self) -> float:
        """The learning rate of the last step, without layer factors."""
        return float(self.optimiser.param_groups[0]["lr"])

    # -- what a checkpoint keeps -----------------------------------------------------------------------------

    def tensors(self) -> dict[str, Tensor]:
        """Weights, optimiser, mean and memory, by name."""
        kept = {f"parameter.{k}": p.detach() for k, p in self.parameters.items()}
        names = {id(p): k for k, p in self.parameters.items()}
        for parameter, state in self.optimiser.state.items():
            for key, value in state.items():
                kept[f"optimiser.{key}.{names[id(parameter)]}"] = value
        kept |= {f"average.{k}": v for k, v in (self.average.mean if self.average else {}).items()}
        return kept | {f"loss.{k}": v for k, v in self.loss.state().items()}

    def load(self, tensors: dict[str, Tensor], number: int) -> None:
        """Goes on from `tensors()` after `number` steps."""
        self.number = number
        put_on(self.parameters, under(tensors, "parameter."))
        for name, parameter in self.parameters.items():
            found = {k.split(".")[1]: v for k, v in tensors.items() if _belongs(k, name)}
            self.optimiser.state[parameter] = {
                k: v.clone() if k == "step" else v.clone().to(parameter.device) for k, v in found.items()
            }
        if self.average is not None:
            put_on(self.average.mean, under(tensors, "average."))
        self.loss.load_state(under(tensors, "loss."))

    # -- inside ----------------------------------------------------------------------------------------------

    def _scalars(self) -> None:
        """The scale always learns; the bias where a sigmoid head uses it, made here when the model has none."""
        model = self.learner.towers.model
        self.scale: Tensor = model.logit_scale
        self.bias: Tensor | None = getattr(model, "logit_bias", None)
        if self.bias is None and self.config.loss.heads.get("sigmoid"):
            self.bias = nn.Parameter(torch.zeros_like(self.scale))
        self._largest_scale = max(math.log(100.0), float(self.scale.detach()))
        for name, scalar in (("logit_scale", self.scale), ("logit_bias", self.bias)):
            if scalar is not None:
                scalar.requires_grad_(True)
                self.parameters.setdefault(name, scalar)  # type: ignore[arg-type]

    def _num_resident(self, passes: Sequence[Pass]) -> int:
        if self.config.batch.num_resident >= 0:
            return self.config.batch.num_resident
        every = sum(len(share(len(p.micro_batches))) for p in passes)
        return every if self.config.model.train == "adapter" else min(every, self._fits(passes))

    def _fits(self, passes: Sequence[Pass]) -> int:
        """How many micro-batches' graphs fit the budget: the bytes of each tower's first one are measured once."""
        if self._graph_bytes is None:
            weights = list(self.learner.towers.model.parameters())
            with seeded(0, self.learner.device):
                self._graph_bytes = max(saved_bytes(p.encode, p.micro_batches[0], weights) for p in passes)
        return int(self.config.batch.memory_gb * 1e9 / max(self._graph_bytes, 1))

    def _update(self) -> None:
        scalars = {id(self.scale), id(self.bias)}
        sum_gradients(p for p in self.parameters.values() if id(p) not in scalars)
        if self.config.optimiser.clip_norm > 0:
            torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.config.optimiser.clip_norm)
        for group in self.optimiser.param_groups:
            group["lr"] = self._next_lr() * group["lr_factor"]
        self.optimiser.step()
        with torch.no_grad():
            self.scale.clamp_(max=self._largest_scale)
        self.number += 1
        if self.average is not None:
            self.average.update(self.parameters, self.number)

    def _next_lr(self) -> float:
        return learning_rate(
            self.config.optimiser,
            self.number + 1,
            total_steps=self.total_steps,
            warmup_steps=self.warmup_steps,
        )


def under(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Those whose name begins with `prefix`, without it."""
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


def _belongs(key: str, name: str) -> bool:
    return key.startswith("optimiser.") and key.split(".", 2)[2] == name


def _chunks(numbers: Sequence[int], size: int) -> list[list[int]]:
    return [list(numbers[i : i + size]) for i in range(0, len(numbers), size)]
