"""What mining's signals see: a picture without its margins, words by the data set's own pictures, what a caption entails."""

import numpy as np
from PIL import Image, ImageDraw

from clipcore.mining import figure
from clipcore.mining.duplicates import AT_FIGURE, NEAR_COLOUR, WIDTH, image_groups
from clipcore.mining.grounding import Grounding
from clipcore.mining.lexical import CaptionWords


def drawing(colour="red", *, ground="white", at=(20, 20), size=60):
    picture = Image.new("RGB", (160, 160), ground)
    draw = ImageDraw.Draw(picture)
    draw.rectangle((at[0], at[1], at[0] + size, at[1] + size), fill=colour)
    draw.ellipse((at[0] + size // 3, at[1], at[0] + size, at[1] + size // 2), fill="black")
    return picture


def test_a_figure_is_the_same_on_another_ground_elsewhere_and_larger_and_not_in_another_colour():
    same = [drawing(), drawing(at=(80, 50)), drawing(size=90), drawing(ground=(250, 250, 250))]
    figures = np.stack([figure.figure(p) for p in (*same, drawing("blue"))])
    apart = figure.distance(figures, np.zeros(5, int), np.arange(5))
    assert apart[0] == 0 and apart[1:4].max() < 20 < 60 < apart[4]
    photograph = Image.fromarray(np.random.default_rng(0).integers(0, 255, (80, 80, 3)).astype(np.uint8))
    assert np.array_equal(
        figure.figure(photograph).reshape(6, 6, 3),
        np.asarray(photograph.resize((64, 64), Image.Resampling.BOX).resize((6, 6), Image.Resampling.BOX)),
    )
    blank = figure.figure(Image.new("RGB", (40, 40), "grey"))
    assert blank.shape == (108,) and len(set(blank.tolist())) == 1


def test_words_fit_the_pictures_that_look_like_the_other_pictures_with_these_words():
    rng = np.random.default_rng(0)
    colour, thing = rng.integers(0, 4, 200), rng.integers(0, 4, 200)
    image = np.eye(8)[colour] + np.eye(8)[thing + 4] + 0.1 * rng.normal(size=(200, 8))
    image = (image / np.linalg.norm(image, axis=1, keepdims=True)).astype(np.float32)
    texts = [
        f"{['red', 'green', 'blue', 'black'][c]} {['cup', 'hat', 'box', 'dog'][t]}"
        for c, t in zip(colour, thing, strict=True)
    ]
    pairs = np.stack([np.arange(200)] * 2, axis=1)
    learned = Grounding.learn(image, None, pairs, np.arange(200), CaptionWords(texts))
    half = np.flatnonzero((colour != colour[0]) & (thing == thing[0]))
    other = np.flatnonzero((colour != colour[0]) & (thing != thing[0]))
    true = np.flatnonzero((colour == colour[0]) & (thing == thing[0]))
    fits = [learned.fit(np.zeros(len(some), int), some) for some in (true, half, other)]
    assert fits[0].min() > fits[1].max() > 0.3 and fits[1].min() > fits[2].max()
    lonely = Grounding.learn(image[:3], None, pairs[:3], np.arange(3), CaptionWords(["a", "b", "c"]))
    assert lonely.fit(np.array([0, 1]), np.array([1, 2])).tolist() == [0, 0]


def test_a_pair_does_not_teach_the_words_by_which_it_is_judged():
    rng = np.random.default_rng(1)
    image = rng.normal(size=(60, 16)).astype(np.float32)
    image /= np.linalg.norm(image, axis=1, keepdims=True)
    texts = [f"word{n % 6}" for n in range(60)]  # nothing in the pictures tells them
    learned = Grounding.learn(
        image, None, np.stack([np.arange(60)] * 2, axis=1), np.arange(60), CaptionWords(texts)
    )
    assert abs(learned.fit(np.arange(60), np.arange(60)).mean()) < 0.3


def test_a_caption_that_says_no_more_is_entailed_and_a_denial_or_another_order_is_not_the_same():
    said = CaptionWords(
        ["a red cup and a blue box", "a red cup", "a blue cup and a red box", "no red cup", "green hat"]
    )
    own, other = np.array([0, 0, 0, 0, 1]), np.array([1, 2, 3, 4, 0])
    assert said.entailed(own, other).tolist() == [1, 0, 0, 0, 0]
    assert said.reordered(own, other).tolist() == [0, 1, 0, 0, 0]


def test_near_duplicates_are_found_however_many_other_pictures_share_their_blank_parts():
    rng = np.random.default_rng(0)
    prints = np.zeros((1_501, WIDTH), np.uint8)
    prints[:, 4:8] = rng.integers(0, 255, (1_501, 4))  # the upper half is blank in all of them
    prints[:, 8:] = 128
    prints[-1] = prints[1_000]
    prints[-1, 4] ^= 1
    prints[-1, 6] ^= 1  # a bit in each of the other quarters: only the blank ones are equal
    prints[-1, 8:AT_FIGURE] += NEAR_COLOUR  # and lighter, up to the next step
    leaders = image_groups([str(n) for n in range(1_501)], prints)
    assert leaders[-1] == 1_000 and (leaders[:-1] == np.arange(1_500)).all()
