"""What an arm of value.py is measured by: retrieval with all truths, at the tuned end and at the mix that is recommended.

An adapter is merged into the towers' last projections and the mix of weights is linear in them, so the features before
them are computed once a world and every mix of every adapter arm costs a matrix product.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize
from value_world import Gallery, World

from clipcore.best import recommend
from clipcore.evaluate import rank_queries
from clipcore.events import Mix
from clipcore.mining import write_negatives
from clipcore.mining.lexical import words
from clipcore.mining.lexicon import ENGLISH

MIXES = (0.0, 0.25, 0.5, 0.75, 1.0)
SEEN = ("shade", "gender")  # kinds of difference that explicit hard negatives of the training arms may have
FURTHER = ("other_style", "new_things")  # galleries that are measured beside the test
CHUNK = 256
Embed = Callable[[Gallery, float], tuple[Tensor, Tensor]]
Weights = dict[str, Tensor]


def weights_of(towers: Any) -> Weights:
    """A copy of everything that may have learned."""
    return {name: p.detach().clone() for name, p in towers.model.named_parameters()}


@torch.inference_mode()
def prepare(world: World, towers: Any) -> None:
    """Computes the features before the last projections of every gallery."""
    model = towers.model
    image, text = model.visual.proj, model.text_projection
    model.visual.proj, model.text_projection = None, None
    try:
        for g in world.galleries.values():
            g.features = _features(towers, g)
    finally:
        model.visual.proj, model.text_projection = image, text


def by_projection(base: Weights, tuned: Weights) -> Embed:
    """Embeddings at a share of the tuned adapter; 0 is the base."""

    def embed(g: Gallery, share: float) -> tuple[Tensor, Tensor]:
        assert g.features is not None
        image, text = (torch.lerp(base[n], tuned[n], share) for n in ("visual.proj", "text_projection"))
        return normalize(g.features[0] @ image, dim=1), normalize(g.features[1] @ text, dim=1)

    return embed


def by_towers(towers: Any, base: Weights, tuned: Weights) -> Embed:
    """The same for towers that learned as a whole; `towers` wears the weights."""
    worn: list[float] = []

    @torch.inference_mode()
    def embed(g: Gallery, share: float) -> tuple[Tensor, Tensor]:
        if worn != [share]:
            towers.model.load_state_dict(
                {n: torch.lerp(base[n], tuned[n], share) for n in base}, strict=False
            )
            worn[:] = [share]
        image, text = _features(towers, g)
        return normalize(image, dim=1), normalize(text, dim=1)

    return embed


def measure(world: World, embed: Embed) -> dict[str, Any]:
    """Figures at the tuned end, and at the mix that the choice galleries recommend (never the test galleries)."""
    mixes = []
    for share in MIXES:
        kept = retrieval(
            world.galleries["retention_choice"], *embed(world.galleries["retention_choice"], share)
        )
        found = retrieval(world.galleries["choice"], *embed(world.galleries["choice"], share))
        mixes.append(Mix(share, {"map_at_r": _mean(found), "retention_map_at_r": _mean(kept)}))
    chosen = recommend(mixes, "map_at_r")
    tuned = _at(world, embed, 1.0)
    return tuned | {"mix": {"share": chosen, **(_at(world, embed, chosen) if chosen < 1.0 else tuned)}}


def _at(world: World, embed: Embed, share: float) -> dict[str, Any]:
    test = world.galleries["test"]
    image, caption = embed(test, share)
    found = retrieval(test, image, caption)
    kept = world.galleries["retention"]
    return {
        **found,
        **{
            name: _few(retrieval(world.galleries[name], *embed(world.galleries[name], share)))
            for name in FURTHER
        },
        "retention_map_at_r": _mean(retrieval(kept, *embed(kept, share))),
        "hard_negatives": hard_negative_figures(
            test, image, lambda texts: _captions(embed, texts, share, test)
        ),
    }


def _few(found: dict[str, Any]) -> dict[str, Any]:
    return {key: found[key] for key in ("ap", "cluster")}


def retrieval(g: Gallery, image: Tensor, caption: Tensor) -> dict[str, Any]:
    """Per query mAP@R in both directions with its cluster, and R@k with all truths."""
    i2t = rank_queries(image, caption, [np.flatnonzero(row).tolist() for row in g.true_IC])
    t2i = rank_queries(caption, image, [np.flatnonzero(row).tolist() for row in g.true_IC.T])
    found: dict[str, Any] = {
        "ap": [*i2t.map_at_r.tolist(), *t2i.map_at_r.tolist()],
        "cluster": [*g.image_cluster[i2t.query].tolist(), *g.caption_cluster[t2i.query].tolist()],
    }
    for name, queries in (("i2t", i2t), ("t2i", t2i)):
        found |= {f"{name}_r@{k}": float((queries.best_rank <= k).mean()) for k in (1, 5, 10)}
    return found


def minimal_kind(first: str, second: str) -> str:
    """The category in which alone two captions differ; empty when they differ in more, or in other words."""
    value_of = ENGLISH.value_of()
    a, b = ({p for w in words(text) for p in w.split("-")} for text in (first, second))
    kinds = {value_of.get(word, ("", ""))[0] for word in a ^ b}
    return kinds.pop() if len(kinds) == 1 and a - b and b - a else ""


def hard_negative_figures(
    g: Gallery, image: Tensor, embed_texts: Callable[[list[str]], Tensor]
) -> dict[str, Any]:
    """SugarCrepe's question: is a true caption nearer than the same one with a word changed? By seen and unseen kinds."""
    asked: list[tuple[int, str, str, str]] = []
    written = write_negatives(g.captions, num_negatives=4)
    for w in written:
        for i in np.flatnonzero(g.true_IC[:, w.caption])[:2]:
            if is_false(g.labels[i], w.kind, w.now):
                asked.append((int(i), g.captions[w.caption], w.text, w.kind))
    if not asked:
        return {}
    texts = sorted({t for _, own, wrong, _ in asked for t in (own, wrong)})
    vector = dict(zip(texts, embed_texts(texts), strict=True))
    right = np.array([
        float((image[i] * vector[own]).sum() > (image[i] * vector[wrong]).sum()) for i, own, wrong, _ in asked
    ])  # fmt: skip
    seen = np.array([kind in SEEN for *_, kind in asked])
    return {
        "seen": float(right[seen].mean()) if seen.any() else None,
        "unseen": float(right[~seen].mean()) if (~seen).any() else None,
        "num_seen": int(seen.sum()),
        "num_unseen": int((~seen).sum()),
    }


def is_false(label: str, kind: str, now: str) -> bool:
    """Whether a caption changed to say `now` is false of a sign: its own name must settle the kind otherwise."""
    value_of = ENGLISH.value_of()
    said = {value_of[p] for w in words(label.casefold()) for p in w.split("-") if p in value_of}
    of_kind = {value for category, value in said if category == kind}
    return bool(of_kind) and value_of.get(now.casefold(), (kind, now))[1] not in of_kind


def _captions(embed: Embed, texts: list[str], share: float, like: Gallery) -> Tensor:
    g = Gallery(like.pixels[:1], TOKENS[0].tokens(texts), None, None, None, texts, [])
    g.features = _text_features(texts)
    return embed(g, share)[1]


TOKENS: list[Any] = []  # the towers whose tokeniser and features serve written captions; set by value.py
_KNOWN: dict[str, Tensor] = {}


@torch.inference_mode()
def _text_features(texts: list[str]) -> tuple[Tensor, Tensor]:
    """Features of written captions before the base's projection, kept: every adapter arm asks for the same ones."""
    model = TOKENS[0].model
    fresh = [t for t in texts if t not in _KNOWN]
    if fresh:
        projection, model.text_projection = model.text_projection, None
        try:
            _KNOWN.update(zip(fresh, model.encode_text(TOKENS[0].tokens(fresh)), strict=True))
        finally:
            model.text_projection = projection
    width = model.visual.proj.shape[0]
    return torch.zeros(1, width), torch.stack([_KNOWN[t] for t in texts])


def _features(towers: Any, g: Gallery) -> tuple[Tensor, Tensor]:
    towers.model.eval()
    return (
        torch.cat([towers.model.encode_image(x) for x in g.pixels.split(CHUNK)]),
        torch.cat([towers.model.encode_text(x) for x in g.tokens.split(CHUNK)]),
    )


def _mean(found: dict[str, Any]) -> float:
    return float(np.mean(found["ap"]))
