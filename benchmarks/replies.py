# SPDX-License-Identifier: Apache-2.0
"""Claim: no damaged reply of a model crashes the reader, and none takes longer than 100 ms of processor time.

`python -m benchmarks.replies --n 200000`: replies of every form are damaged with a fixed seed: parts dropped, doubled,
swapped, cut off, spliced with other replies, numbers replaced, foreign characters inserted. A crash is any exception
but ReplyError. A reply is unsound if a location that was read lies outside the image, has no area, or has an
unprintable label. A location is invented if its numbers do not follow each other in the damaged reply.
"""

from __future__ import annotations

import math
import random
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.harness import Claim, arguments, finish
from spatial_vlm_ros.errors import InputError
from spatial_vlm_ros.perception.coordinates import CONVENTIONS, Convention, NamedObject, to_pixels
from spatial_vlm_ros.perception.replies import BEYOND, ReplyError, parse_reply

SLOWEST_MS = 100.0
SIZE, RESIZED = (640, 480), (644, 476)
FORMS = (
    "[]",
    "There are none.",
    '[{"bbox_2d": [12, 34, 256, 378], "label": "mug"}]',
    '```json\n[\n\t{"bbox_2d": [12, 34, 256, 378], "label": "red mug"},\n'
    '\t{"bbox_2d": [1, 2, 30, 40], "label": "a"}\n]\n```',
    'Here you are: {"point_2d": [120, 340], "label": "the chick", "score": 0.87}',
    '{"point_2d": [120, 340], "label": "a"}\n{"point_2d": [12, 34], "label": "b"}',
    '[{"box_2d": [100, 50, 400, 460], "label": "box, \\"blue\\" \\u00fc", "confidence": 0.5}]',
    '{"objects": [{"bbox": [0.1, 0.2, 0.35, 0.9], "name": "cup"}, {"bbox": [0, 0, 1, 1], "name": "table"}]}',
    "[(0.12, 0.34), (0.56, 0.78), (0.9, 0.1)]",
    "(120, 340), (12, 34)",
    "The mug is at [120, 34, 280, 96].",
    "<think>The cup (3 of them) at [1, 2]</think>\n<answer><point>[[120, 340], [5, 6]]</point></answer>",
    "<ref>the mug</ref><box>[[12, 34, 256, 378], [400, 40, 420, 80]]</box>",
    "<|object_ref_start|>mug<|object_ref_end|><|box_start|>(12,34),(256,378)<|box_end|><|im_end|>",
    '<point x="12.3" y="45.6" alt="mug">mug</point>',
    '<points x1="12.3" y1="45.6" x2="60.0" y2="70.1" alt="mugs">mugs</points>',
    'Counting the <points coords="1 1 073 160 2 173 400 3 258 325" alt="boats">boats</points> shows 3.',
    "</s><s>mug<loc_12><loc_34><loc_256><loc_378>cup<loc_1><loc_2><loc_30><loc_40><loc_5><loc_6><loc_70><loc_80></s>",
    "<loc0012><loc0034><loc0256><loc0378> mug ; <loc0100><loc0200><loc0300><loc0400> box<eos>",
    "[{'bbox_2d': [12, 34, 256, 378], 'label': 'mug', 'score': None},]",
    '[{"bbox_2d": [12, 34, 256, 378], "label": "mug"}, {"bbox_2d": null, "label": "cup"}]',
    '{"objects": [{"x_min": 0.12, "y_min": 0.2, "x_max": 0.3, "y_max": 0.9}]}',
    '{"points": [{"x": 0.12, "y": 0.2}, {"x": 0.5, "y": 0.7}]}',
    "There are no mugs in the image.",
)
_NUMBER = re.compile(r"<loc_?([0-9]+)>|(?<![A-Za-z_0-9.])(-?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)")
SPECKS = "[]{}()<>\"'\\,:;.-+=/|`_ \n\t\x00\u00a0\u200b\u202e\ud800\u00e9\u4e2d\u0661\uff11\U0001f6000123456789eE"
NUMBERS = (
    "NaN", "Infinity", "-Infinity", "1e999", "-1", "1500", "0", "0.5", "1000", "1001", "null", "true", '"7"', "[7]",
    "9" * 40, "1e-400", "-0", "\uff11\uff12", "007", "+3", ".5", "5.", "0x1f", "1_000", "{}", "", "  ",
)  # fmt: skip
PARTS = (
    "[", "]", "{", "}", "(", ")", '"', "<box>", "</box>", "<point>", '<point x="', "</points>", "<loc_5>", "<loc0005>",
    "<ref>", "</ref>", "<think>", "</think>\n", "<answer>", "</answer>", "```json", "```", '"bbox_2d": ',
    '"point_2d": ', '"label": "', '"label": "a", ', "[[", "]]", "}, {", "\\", "\\u0000",
    "<seg001>", "coords=", "and", "[]", "(5, 6)",
)  # fmt: skip


@dataclass
class Soak:
    """Results of reading many replies.

    Args:
        n: number of replies.
        read: number of replies read.
        refused: number of replies refused.
        crashes: replies with the exception that they raised.
        unsound: replies with an invalid location.
        invented: replies that do not contain the numbers of a location.
        slowest_ms: longest processor time of one reply, milliseconds.
        slowest: beginning of that reply.
    """

    n: int = 0
    read: int = 0
    refused: int = 0
    crashes: list[str] = field(default_factory=list)
    unsound: list[str] = field(default_factory=list)
    invented: list[str] = field(default_factory=list)
    slowest_ms: float = 0.0
    slowest: str = ""


def _drop(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text))
    return text[:start] + text[start + rng.choice((1, 1, 2, 5, 20)) :]


def _double(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text))
    end = start + rng.randint(1, 40)
    return text[:end] + text[start:end] * rng.choice((1, 1, 3, 200)) + text[end:]


def _swap(rng: random.Random, text: str) -> str:
    a, b, c = sorted(rng.randrange(len(text) + 1) for _ in range(3))
    return text[:a] + text[b:c] + text[a:b] + text[c:]


def _cut(rng: random.Random, text: str) -> str:
    return text[: rng.randrange(len(text) + 1)]


def _splice(rng: random.Random, text: str) -> str:
    other = rng.choice(FORMS)
    return text[: rng.randrange(len(text) + 1)] + other[rng.randrange(len(other)) :]


def _beside(rng: random.Random, text: str) -> str:
    return rng.choice((" ", "\n", ", ", " or ")).join((text, rng.choice(FORMS)))


def _speck(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + rng.choice(SPECKS) + text[start + rng.randint(0, 1) :]


def _part(rng: random.Random, text: str) -> str:
    start = rng.randrange(len(text) + 1)
    return text[:start] + rng.choice(PARTS) * rng.choice((1, 1, 1, 2, 1000)) + text[start:]


def _number(rng: random.Random, text: str) -> str:
    """Replace one number by something else."""
    digits = [k for k, sign in enumerate(text) if sign.isascii() and sign.isdigit()]
    if not digits:
        return text
    start = end = rng.choice(digits)
    while start > 0 and text[start - 1] in "0123456789.":
        start -= 1
    while end < len(text) and text[end] in "0123456789.":
        end += 1
    return text[:start] + rng.choice((*NUMBERS, str(rng.randint(-10, 1100)), f"{rng.random():.3f}")) + text[end:]


MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    _drop, _double, _swap, _cut, _splice, _beside, _speck, _part, _number, _number, _number,
)  # fmt: skip


def damaged(rng: random.Random) -> str:
    """Make a reply of a known form and damage it by zero to four changes."""
    text = rng.choice(FORMS)
    for _ in range(rng.randint(0, 4)):
        text = rng.choice(MUTATIONS)(rng, text) or rng.choice(FORMS)
    return text


def soak(n: int, seed: int) -> Soak:
    """Read `n` damaged replies, each in a random convention; the seed is that of the damage."""
    rng = random.Random(seed)
    names = sorted(CONVENTIONS)
    found = Soak(n)
    for _ in range(n):
        text, name, probed = damaged(rng), rng.choice(names), rng.random() < 0.5
        convention = CONVENTIONS[name]
        start = time.process_time()
        try:
            read = parse_reply(text, model="soak", convention=convention, size=SIZE, resized=RESIZED, probed=probed)
            places = read.places
            found.read += 1
            took = (time.process_time() - start) * 1e3
            if not all(_written(place, text, convention) for place in places):
                found.invented.append(f"{name}: {text[:200]}")
            if not all(_sound(place) for place in places):
                found.unsound.append(f"{name}: {text[:200]}")
        except ReplyError as error:
            took = (time.process_time() - start) * 1e3
            found.refused += 1
            if not str(error).isprintable():
                found.unsound.append(f"message of {name}: {text[:200]}")
        except Exception as error:
            took = 0.0
            found.crashes.append(f"{error!r}: {name}: {text[:200]}")
        if took > found.slowest_ms:
            found.slowest_ms, found.slowest = took, f"{name}, {len(text)} characters: {text[:80]}"
    return found


def _written(place: NamedObject, text: str, convention: Convention) -> bool:
    """Whether the numbers of a location follow each other in a reply."""
    numbers = [float(token or number) for token, number in _NUMBER.findall(text)]
    for read in (place.box_xyxy, place.point_xy):
        if read is None:
            continue
        windows = [numbers[k : k + len(read)] for k in range(len(numbers) - len(read) + 1)]
        if not any(_same(window, read, convention) for window in windows):
            return False
    return True


def _same(values: list[float], read: tuple[float, ...], convention: Convention) -> bool:
    """Whether written values are a location that was read, in the stated order or with x first."""
    for order in {convention.order, "xy"}:
        try:
            used = Convention(convention.name, convention.unit, order, convention.bins)
            pixels = to_pixels([values], used, SIZE, RESIZED, BEYOND)[0]
        except InputError:
            continue
        if np.allclose(pixels, read):
            return True
    return False


def _sound(place: NamedObject) -> bool:
    """Whether a location lies in the image and can be shown."""
    points = [] if place.point_xy is None else [place.point_xy]
    if place.box_xyxy is not None:
        x0, y0, x1, y1 = place.box_xyxy
        if not (x0 < x1 and y0 < y1):
            return False
        points += [(x0, y0), (x1, y1)]
    inside = all(math.isfinite(x + y) and 0 <= x <= SIZE[0] and 0 <= y <= SIZE[1] for x, y in points)
    return bool(points) and inside and place.label.isprintable() and (place.score is None or 0 <= place.score <= 1)


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=200_000, seed=0)
    found = soak(given.n, given.seed)
    faults = {"crashes": found.crashes, "unsound": found.unsound, "invented": found.invented}
    counts = {"read": found.read, "refused": found.refused, **{kind: len(those) for kind, those in faults.items()}}
    slowest = round(found.slowest_ms, 3)
    for kind, replies in faults.items():
        for reply in replies[:10]:
            print(f"{kind}: {reply!a}")
    claims = [
        Claim("crashes", len(found.crashes), 0.0, "replies"),
        Claim("unsound places", len(found.unsound), 0.0, "replies"),
        Claim("invented places", len(found.invented), 0.0, "replies"),
        Claim("slowest reply", found.slowest_ms, SLOWEST_MS, "ms"),
    ]
    setting = {"replies": found.n, "seed": given.seed}
    measured = {"setting": setting, **counts, "slowest_ms": slowest, "slowest": ascii(found.slowest)}
    return finish("replies", measured, claims)


if __name__ == "__main__":
    raise SystemExit(main())
