# SPDX-License-Identifier: Apache-2.0
"""Choose a question that resolves an ambiguity: the shortest of those that split the candidates best.

See docs/dialogue.md. The parser understands every answer that a question offers.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from spatial_vlm_ros.language.lexicon import NUMBERS
from spatial_vlm_ros.printable import joined, printable
from spatial_vlm_ros.spatial.colours import colour_family
from spatial_vlm_ros.spatial.descriptions import (
    COUNTED,
    GENERIC,
    KINDS,
    POSITIONS,
    Describer,
    Description,
    plural_of,
    spoken,
    words_of,
)
from spatial_vlm_ros.spatial.layout import Array, Layout
from spatial_vlm_ros.types import FrameOfReference, NounPhrase

_MOST_PARTS = 4  # parts that a question names; more are counted
_MOST_COUNTED = 20  # objects that are compared one by one; more are distinguished only by kind
_MOST_SPLITS = 200  # splits that are examined for one kind of words
_IN_A_ROW = {"left": -1, "right": 1}  # order in which they are said
_SUREST = 0.03, 0.95  # fits beyond these are treated as equal: colours from pixels reach them, orders exceed them
_LIKELY = 0.75  # fit from which a question names a position though it is unclear; the answer must be confirmed
_MOST_IDS = 10  # ids that a question lists
_SAYABLE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,19}")
_STEP = 0.1  # bits within which two questions are equally good

YES, NO = "yes", "no"
"""Answers that a yes/no question offers."""

_WHOSE = {
    FrameOfReference.VIEWER: ("the camera's", "from the camera's side"),
    FrameOfReference.ROBOT: ("the robot's", "from the robot's side"),
    FrameOfReference.SPEAKER: ("yours", "from my side"),
    FrameOfReference.WORLD: ("the world's", "in the world frame"),
    FrameOfReference.OBJECT: ("its own", "from its own side"),
}
"""Frame of reference → whose side it is, as the robot asks; the words of the answer."""


@dataclass(frozen=True)
class Question:
    """A question to ask back."""

    text: str
    # (words, rows) for each answer: words that the parser understands, and the objects that they mean
    answers: tuple[tuple[str, tuple[int, ...]], ...]
    bits: float  # expected information of the answer about which object is meant, bits
    # True if each answer clearly fits its objects and no others; else it stands for the objects it fits best
    clear: bool = True
    kind: Literal["which", "whether", "name", "whose"] = "which"
    about: NounPhrase | None = None  # the phrase whose name fits nothing (kind "name")


@dataclass(frozen=True, eq=False)
class _Split:
    """One way to divide the objects: a description for each part, and the indices of its objects."""

    kind: str
    parts: tuple[tuple[Description, tuple[int, ...]], ...]
    bits: float

    @property
    def rank(self) -> tuple[float, int, int, float]:
        """Sort key, best first: most bits, fewest words, fixed order, widest gap."""
        order = (*KINDS, "count", "mixed").index(self.kind)
        position = self.kind in POSITIONS
        gap = min(part.gap for part, _ in self.parts)
        words = 3 + len(self.parts) if self.kind == "count" else sum(part.words for part, _ in self.parts)
        return -round(self.bits / _STEP), words, KINDS.index("across") if position else order, -gap


def ask(
    phrase: NounPhrase,
    rows: Sequence[int],
    probability: Array,
    layout: Layout,
    frames: Sequence[str] = (),
    *,
    frame: FrameOfReference = FrameOfReference.VIEWER,
    members: Array | None = None,
) -> Question:
    """Choose the question that splits the rivals best; its answers may be empty if nothing distinguishes them.

    Args:
        rows: the rivals, likeliest first; at least two.
        probability: (N,) posterior of every object of the scene.
        frames: names of the frames of reference that choose rows[0], rows[1], …, if frames disagree.
        members: (N,) how well each object fits the phrase without its superlative and ordinal, which an order in the
            answer replaces; None = use `probability` if the phrase has neither, else ask for no order.
    """
    if len(frames) > 1:
        prior = np.array([max(float(probability[row]), 1e-9) for row in rows[: len(frames)]])
        answers = tuple((_WHOSE[FrameOfReference(f)][1], (int(row),)) for f, row in zip(frames, rows, strict=False))
        return Question(ask_frame(frames), answers, _entropy(prior / prior.sum()), kind="whose")
    several = phrase.count not in (None, 1)
    ordered = phrase.superlative is None and phrase.ordinal is None
    chosen = np.asarray(rows, np.intp)
    weights = probability / max(float(probability[chosen].max()), 1e-9) if members is None else members
    describer = Describer(layout, chosen, np.clip(weights, 0.0, 1.0), phrase.frame or frame, phrase.category)
    prior = np.maximum(probability[chosen], 1e-9)
    ordered = (ordered or members is not None) and len(rows) <= _MOST_COUNTED
    splits = list(_splits(describer, prior / prior.sum(), several, ordered))
    for split in sorted(splits, key=lambda s: s.rank):
        if all(part.understood(several) for part, _ in split.parts):
            return _worded(split, describer, several)
    return _unclear(describer, prior / prior.sum(), several, phrase.count or 1)


def ask_frame(frames: Sequence[str], phrase: NounPhrase | None = None) -> str:
    """Ask whose left, or whose behind, is meant: the camera's, the robot's, the phrase's or "its own"."""
    whose = [_WHOSE[FrameOfReference(name)][0] for name in frames]
    if phrase is not None:
        whose = [f"the {phrase.category}'s own" if one == "its own" else one for one in whose]
    return f"From whose side: {joined(whose, 'or')}?"


def confirm(row: int, layout: Layout, *, frame: FrameOfReference = FrameOfReference.VIEWER) -> str:
    """Ask if one object is meant, in the shortest words that fit no other: "Do you mean the red cup?"."""
    return f"Do you mean {distinguished(row, layout, frame=frame)}?"


def whether(rows: Sequence[int], layout: Layout, *, frame: FrameOfReference = FrameOfReference.VIEWER) -> Question:
    """Ask if some objects are meant, to be answered with yes or no."""
    if len(rows) == 1:
        text = confirm(rows[0], layout, frame=frame)
    else:
        text = f"Do you mean {' and '.join(distinguished(row, layout, frame=frame) for row in rows)}?"
    return Question(text, ((YES, tuple(rows)), (NO, ())), 0.0, kind="whether")


def distinguished(row: int, layout: Layout, *, frame: FrameOfReference = FrameOfReference.VIEWER) -> str:
    """The shortest description that fits one object of the scene and no other: "the red cup", "the can on the box"."""
    obj = layout.scene.objects[row]
    name = spoken(obj.detection.label)
    if name is None:
        return f"the {printable(obj.detection.label)} ({printable(obj.id)})"
    own = frozenset(name.split())
    alike = [other for other, o in enumerate(layout.scene.objects) if own <= words_of(o)]
    if len(alike) == 1:
        return f"the {name}"
    rows = np.array(alike, np.intp)
    members = np.isin(np.arange(len(layout)), rows).astype(np.float64)
    describer = Describer(layout, rows, members, frame, name)
    one = alike.index(row)
    found = [
        d
        for d in (*_sayable(describer, ordered=True), *itertools.chain(*describer.counted.values()))
        if d.held == {one}
    ]
    found.sort(key=lambda d: (d.words, (*KINDS, "count").index(d.kind), -d.gap))
    said = next((d.naming(name) for d in found if d.understood()), None)
    return said or f"the {name} ({printable(obj.id)})"


# ------------------------------------------------------------------------------------------------ ways to split


def _splits(describer: Describer, prior: Array, several: bool, ordered: bool) -> Iterator[_Split]:
    """All ways to divide the rivals by clear words: of one kind, counted, or a suitable description for each."""
    ordered = ordered and not several
    descriptions = _sayable(describer, ordered)
    for kind in (*KINDS, "mixed"):
        some = [d for d in descriptions if kind == d.kind or (kind == "mixed" and not d.denies)]
        for parts in _covers(some, len(prior)):
            yield _Split(kind, parts, _bits(prior, [part for part, _ in parts]))
    if ordered:
        for side, _ in COUNTED:
            places = [(d, tuple(sorted(d.held))) for d in describer.counted.get(side, ())]
            parts = tuple(place for place in places if place[1])
            if sorted(n for _, held in parts for n in held) == list(range(len(prior))):
                yield _Split("count", parts, _bits(prior, [part for part, _ in parts]))


def _sayable(describer: Describer, ordered: bool) -> list[Description]:
    """Descriptions that clearly hold for some of the objects and clearly fail for all others, shortest of each kind."""
    best: dict[tuple[str, frozenset[int]], Description] = {}
    orders = describer.orders if ordered else ()
    few = len(describer.rows) <= _MOST_COUNTED
    one_by_one = (describer.attributes(), describer.labels(), orders, describer.landmarks())
    for description in itertools.chain(*(one_by_one if few else (describer.labels(),))):
        held = description.held
        key = description.kind, held
        if 0 < len(held) < len(description.fits) and (key not in best or description.words < best[key].words):
            best[key] = description
    return list(best.values())


def _covers(descriptions: Sequence[Description], n: int) -> list[tuple[tuple[Description, tuple[int, ...]], ...]]:
    """Ways to cover n objects, each by exactly one of two to four descriptions; shortest words tried first."""
    held = [(d, d.held) for d in sorted(descriptions, key=lambda d: (d.words, KINDS.index(d.kind)))]
    found: list[tuple[tuple[Description, tuple[int, ...]], ...]] = []

    def extend(parts: list[tuple[Description, frozenset[int]]], left: frozenset[int]) -> None:
        if not left:
            found.append(tuple((d, tuple(sorted(part))) for d, part in parts))
        elif len(parts) < _MOST_PARTS:
            first = min(left)
            for d, part in held:
                if len(found) < _MOST_SPLITS and first in part and part <= left:
                    extend([*parts, (d, part)], left - part)

    extend([], frozenset(range(n)))
    return found


def _bits(prior: Array, parts: Sequence[Description]) -> float:
    """Expected gain of an answer: entropy before, minus the mean entropy after, bits.

    Words can be misheard and misjudged, so no description counts as surer than the limits in `_SUREST`.
    """
    fits = np.array([part.fits for part in parts]).clip(*_SUREST)
    joint = prior * fits / fits.sum(axis=0)
    answer = joint.sum(axis=1)
    after = joint / answer[:, None]
    entropy = -(after * np.log2(after)).sum(axis=1)
    return _entropy(prior) - sum((answer * entropy).tolist())


def _entropy(p: Array) -> float:
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum())


# ------------------------------------------------------------------------------------------------ words


def _worded(split: _Split, describer: Describer, several: bool) -> Question:
    rows = [int(row) for row in describer.rows]
    answers = tuple((part.said(several), tuple(rows[n] for n in held)) for part, held in split.parts)
    ordinals = [part.meaning[0].ordinal for part, _ in split.parts]
    in_turn = [o.n for o in ordinals if o is not None] == list(range(1, len(split.parts) + 1))
    if split.kind == "count" and in_turn:
        return Question(_counting(describer, split.parts[0][0].core.partition(" ")[2]), answers, split.bits)
    parts = sorted((part for part, _ in split.parts), key=lambda part: _IN_A_ROW.get(part.core, 0))
    one = "ones" if several else "one"
    # "One" may be said just once, at the end: for colours and places, not for kinds ("the bonnet one").
    colours = all(part.kind != "attribute" or colour_family(part.core) is not None for part in parts)
    if colours and all(part.kind in KINDS and part.kind not in ("label", "landmark") for part in parts):
        said = f"{joined([f'the {part.core}' for part in parts], 'or')} {one}"
    else:
        said = joined([part.said(several) for part in parts], "or")
    noun = _noun(describer.noun)
    return Question(f"Which {plural_of(noun) if several else noun}: {said}?", answers, split.bits)


def _counting(describer: Describer, words: str) -> str:
    return f"Which of the {number(len(describer.rows))} {plural_of(_noun(describer.noun, 'object'))}, counted {words}?"


def _unclear(describer: Describer, prior: Array, several: bool, count: int = 1) -> Question:
    """The question if nothing is clear: by the most informative position, each answer for its best fit; else by ids."""
    rows = [int(row) for row in describer.rows]
    if several and count > 0 and len(rows) <= _MOST_COUNTED:  # one end of an order or the other
        clear = [d for d in describer.first_of(count) if len(d.held) == count and d.understood(True)]
        for kind in POSITIONS:
            ends = [d for d in clear if d.kind == kind]
            if len(ends) == 2:
                some = tuple((d.said(several=True), tuple(rows[n] for n in sorted(d.held))) for d in ends)
                cores = joined([f"the {d.core}" for d in ends], "or")
                return Question(f"Which {plural_of(_noun(describer.noun))}: {cores} ones?", some, 0.0)
    by_id: Question | None = None  # by the ids that images show
    ids = [obj.id for obj in describer.objects]
    if not several and len(ids) <= _MOST_IDS and all(map(_SAYABLE_ID.fullmatch, ids)):
        noun = _noun(describer.noun, "object")
        named = tuple((f"the {noun} {id_}", (row,)) for id_, row in zip(ids, rows, strict=True))
        by_id = Question(f"Which {noun}: {joined(ids, 'or')}?", named, 0.0)
    orders: list[tuple[str, Sequence[Description]]] = []  # with a position for each of the objects
    if not several and len(rows) == 2:
        for kind in POSITIONS:
            pair = [d for d in describer.orders if d.kind == kind]
            text = f"Which {_noun(describer.noun)}: {joined([f'the {d.core}' for d in pair], 'or')} one?"
            orders.append((text, pair))
    elif not several and len(rows) <= _MOST_COUNTED:
        orders = [(_counting(describer, words), describer.counted.get(side, ())) for side, words in COUNTED]
    orders = [(text, places) for text, places in orders if len(places) > 1 and all(d.understood() for d in places)]
    if not orders:
        if by_id is not None:
            return by_id
        objects = f"{number(len(rows))} {plural_of(_noun(describer.noun, 'object'))}"
        return Question(f"Which of the {objects}?", (), 0.0)
    text, places = max(orders, key=lambda told: round(_bits(prior, told[1]) / _STEP))
    best = np.argmax([d.fits for d in places], axis=0)
    if len(rows) == 2:
        first = int(np.argmax(places[0].fits - places[1].fits))
        best = np.array([0, 1]) if first == 0 else np.array([1, 0])
    meant = [tuple(row for row, place in zip(rows, best, strict=True) if place == n) for n in range(len(places))]
    likely = all(places[place].fits[n] >= _LIKELY for n, place in enumerate(best))
    if by_id is not None and not (likely and max(map(len, meant)) == 1):
        return by_id
    answers = tuple((d.said(), held) for d, held in zip(places, meant, strict=True) if held)
    return Question(text, answers, max(0.0, _bits(prior, places)), clear=False)


def _noun(category: str, anything: str = "one") -> str:
    return anything if category == GENERIC else printable(category)


def number(n: int) -> str:
    """A number in words ("five"), or in digits if it has no word here."""
    return next((word for word, value in NUMBERS.items() if value == n), str(n))
