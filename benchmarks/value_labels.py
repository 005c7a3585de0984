"""Who labels what in value.py: a simulated person in some order, a model by a rule, and the sham of each."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from value_measure import SEEN, is_false, minimal_kind
from value_world import World

from clipcore.labels import Label
from clipcore.mining import MiningOptions, mine, write_negatives
from clipcore.mining.orders import mixed

Answer = Literal["match", "no_match", "unsure"]
Verdict = tuple[int, int, Answer]  # image, caption
REFIT = 100  # verdicts between two refits of the queue
SURE = 0.7  # the confidence that the person of "soft" gives
ACCEPT_FROM = 0.9  # the calibrated probability from which a slice is offered for bulk accept
CHECKED = 59  # answers of a bulk check, part of the budget: all right means at least 95 % right, at 95 %


@dataclass
class Person:
    """Answers from the truth, wrong at a rate; `hesitates`: can't tell where a caption is false for its look alone."""

    world: World
    seed: int
    wrong: float = 0.0
    hesitates: bool = False

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed + 7)
        self.images = sorted({i for i, _ in self.world.pairs})
        self.captions = sorted({c for _, c in self.world.pairs})
        at_i, at_c = ({x: n for n, x in enumerate(known)} for known in (self.images, self.captions))
        self.own = sorted({(at_i[i], at_c[c]) for i, c in self.world.pairs})

    def answer(self, i: int, c: int) -> Answer:
        """About places in `images` and `captions`."""
        image, caption = self.images[i], self.captions[c]
        true = bool(self.world.true_IC[image, caption])
        if self.hesitates and not true:
            own = self.world.sign_of[image].label.replace(":", "").casefold()
            if minimal_kind(own, self.world.captions[caption]):
                return "unsure"
        return "match" if true != (self.rng.random() < self.wrong) else "no_match"

    def mined(self, given: list[Verdict]) -> tuple[Any, Any]:
        """Suggestions after these verdicts, and the places of those that ask about a candidate."""
        w = self.world
        found = mine(
            w.image_ID[self.images],
            w.caption_CD[self.captions],
            pairs=self.own,
            captions=[w.captions[c] for c in self.captions],
            image_hashes=[w.hashes[i] for i in self.images],
            fingerprints=w.prints[self.images],
            verdicts=[(i, c, said == "match") for i, c, said in given if said != "unsure"],
            decided=[(i, c) for i, c, said in given if said == "unsure"],
            options=MiningOptions(seed=self.seed),
        )
        return found, np.flatnonzero([p != "broken_pair" for p in found.proposed])

    def queue(self, budget: int) -> list[Verdict]:
        """Answers in our queue's order, refitted."""
        given: list[Verdict] = []
        while len(given) < budget:
            found, asked = self.mined(given)
            order = mixed(found.impact[asked], found.probability[asked], seed=self.seed)
            turn = asked[order[: min(REFIT, budget - len(given))]]
            if not len(turn):
                break
            given += [self._said(found, n) for n in turn]
        return given

    def pool(self, budget: int | None = None) -> list[Verdict]:
        """Answers in random order within the mined candidates; all of them without a budget."""
        found, asked = self.mined([])
        return [self._said(found, n) for n in self.rng.permutation(asked)[:budget]]

    def anywhere(self, budget: int) -> list[Verdict]:
        """Answers on random candidates."""
        given: dict[tuple[int, int], Verdict] = {}
        own = set(self.own)
        while len(given) < budget:
            at = int(self.rng.integers(len(self.images))), int(self.rng.integers(len(self.captions)))
            if at not in own and at not in given:
                given[at] = (*at, self.answer(*at))
        return list(given.values())

    def bulk(self, budget: int) -> list[Verdict]:
        """The queue, then one guarded bulk accept within the same budget: a random check of a sure slice, all right."""
        given = self.queue(budget - CHECKED)
        found, asked = self.mined(given)
        slice_ = asked[found.probability[asked] >= ACCEPT_FROM]
        checked = [self._said(found, n) for n in self.rng.permutation(slice_)[:CHECKED]]
        given += checked
        if len(checked) == CHECKED and all(said == "match" for *_, said in checked):
            seen = {(i, c) for i, c, _ in given}
            rest = [(int(found.image[n]), int(found.caption[n])) for n in slice_]
            given += [(*at, "match") for at in rest if at not in seen]
        return given

    def outside(self, given: list[Verdict]) -> list[Verdict]:
        """Verdicts in the numbers of the world."""
        return [(self.images[i], self.captions[c], said) for i, c, said in given]

    def _said(self, found: Any, n: int) -> Verdict:
        at = int(found.image[n]), int(found.caption[n])
        return (*at, self.answer(*at))


def labels_of(world: World, verdicts: list[Verdict], treatment: str) -> list[Label]:
    """What the arm makes of verdicts: mask, attract, soft, hard, or all (attract and hard; unsure is masked).

    Hard negatives that differ in a kind outside SEEN alone are left out, in every arm alike, so that it stays unseen.
    """
    found = []
    for image, caption, said in verdicts:
        names = f"i{image}", f"c{caption}"
        if said == "unsure" and treatment == "all":
            found.append(Label(*names, "unsure"))
        elif said == "match" and treatment != "hard":
            way = treatment if treatment in ("mask", "soft") else "attract"
            found.append(Label(*names, "match", treatment=way, confidence=SURE if way == "soft" else 1.0))
        elif said == "no_match" and treatment in ("hard", "all"):
            own = world.sign_of[image].label.replace(":", "").casefold()
            if minimal_kind(own, world.captions[caption]) in ("", *SEEN):
                found.append(Label(*names, "no_match"))
    return found


def truth(world: World) -> list[Verdict]:
    """Every match that the training pairs do not say: what a perfect person with endless patience would find."""
    images, captions = sorted({i for i, _ in world.pairs}), sorted({c for _, c in world.pairs})
    own = set(world.pairs)
    return [(i, c, "match") for i in images for c in captions if world.true_IC[i, c] and (i, c) not in own]


def sham(world: World, seed: int, real: list[Label]) -> list[Label]:
    """The same labels on random candidates: image and caption drawn anew, everything else kept."""
    rng = np.random.default_rng(seed + 99)
    images, captions = sorted({i for i, _ in world.pairs}), sorted({c for _, c in world.pairs})
    taken = set(world.pairs)
    found = []
    for label in real:
        while (at := (int(rng.choice(images)), int(rng.choice(captions)))) in taken:
            pass
        taken.add(at)
        found.append(
            Label(
                f"i{at[0]}",
                f"c{at[1]}",
                label.verdict,
                treatment=label.treatment,
                confidence=label.confidence,
            )
        )
    return found


def written(world: World, seed: int, budget: int) -> tuple[list[Label], dict[str, str]]:
    """Written negatives of seen kinds that the perfect person keeps, and their texts by caption id."""
    rng = np.random.default_rng(seed + 5)
    texts = [world.captions[c] for _, c in world.pairs]
    labels: list[Label] = []
    extra: dict[str, str] = {}
    for w in rng.permutation(np.array(write_negatives(texts, num_negatives=2), dtype=object)):
        image = world.pairs[w.caption][0]
        if len(labels) < budget and w.kind in SEEN and is_false(world.sign_of[image].label, w.kind, w.now):
            extra[f"w{len(labels)}"] = w.text
            labels.append(Label(f"i{image}", f"w{len(labels)}", "no_match"))
    return labels, extra


def sham_written(world: World, seed: int, real: list[Label]) -> list[Label]:
    """The same written captions, owned by random images."""
    rng = np.random.default_rng(seed + 99)
    images = sorted({i for i, _ in world.pairs})
    return [Label(f"i{rng.choice(images)}", x.caption_id, "no_match") for x in real]


def model_mined(world: World, rule: Literal["gist", "nv"]) -> list[Label]:
    """No person. GISTEmbed masks what scores above the own pair; NV-Retriever takes the top 4 under 0.95 of it."""
    images, captions = sorted({i for i, _ in world.pairs}), sorted({c for _, c in world.pairs})
    at_i, at_c = ({x: n for n, x in enumerate(known)} for known in (images, captions))
    score = world.image_ID[images] @ world.caption_CD[captions].T
    own = np.zeros(score.shape, dtype=bool)
    for i, c in world.pairs:
        own[at_i[i], at_c[c]] = True
    best = np.where(own, score, -np.inf).max(axis=1)
    if rule == "gist":
        where = zip(*np.nonzero((score > best[:, None]) & ~own), strict=True)
        return [Label(f"i{images[r]}", f"c{captions[c]}", "match", treatment="mask") for r, c in where]
    safe = np.where(own | (score > 0.95 * best[:, None]), -np.inf, score)
    top = np.argsort(-safe, axis=1)[:, :4]
    return [Label(f"i{images[r]}", f"c{captions[c]}", "no_match") for r in range(len(images)) for c in top[r]]
