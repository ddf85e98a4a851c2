# SPDX-License-Identifier: Apache-2.0
"""True answers to questions about space, from true outlines and heights; no code is shared with the package's answers.

Yes/no, which and how many come from the oracle's margins; lengths from plane geometry written here.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np

from research.constructed.oracle import Meaning, Situation, meaning
from research.constructed.still import Still
from spatial_vlm_ros.types import NounPhrase, RelationClause, Status

Kind = Literal["whether", "exists", "which", "count", "distance", "edge", "viewer", "size", "where", "compare"]
_RELATIONS = (
    "left of",
    "right of",
    "in front of",
    "behind",
    "on",
    "inside",
    "next to",
    "taller than",
    "above",
    "under",
)
_LENGTHS = {"tall": 2, "high": 2, "wide": 0, "long": -1}


@dataclass(frozen=True)
class SpaceItem:
    """A question and its true answer.

    Args:
        kind: what is asked.
        words: the question.
        value: "yes" or "no", metres, or a number of objects; None where the objects are the answer.
        ids: of the objects that the answer has to name; None = not judged.
        clear: whether the truth is clear of the band within which nobody should be sure; a number always is.
    """

    kind: Kind
    words: str
    value: float | str | None = None
    ids: frozenset[str] | None = None
    clear: bool = True


def questions_of(situation: Situation, eye: np.ndarray, rng: np.random.Generator) -> Iterator[SpaceItem]:
    """Some questions about a scene, of every kind.

    Args:
        situation: true geometry of what is seen, base frame.
        eye: (3,) camera, base frame.
        rng: draws which objects and words.
    """
    single = _single(situation)
    if len(single) < 2:
        return
    order = [single[int(i)] for i in rng.permutation(len(single))]
    pairs = list(itertools.permutations(order[:4], 2))
    for index in rng.permutation(len(pairs))[:4]:
        one, other = pairs[int(index)]
        relation = str(rng.choice(_RELATIONS))
        yield _whether(one, other, relation, situation, rng)
    one, other = pairs[int(rng.integers(len(pairs)))]
    yield _distance(one, other, rng)
    yield _edge(one, situation, rng)
    yield _viewer(one, eye, rng)
    yield _size(one, rng)
    words = str(rng.choice(("where is the {x}?", "where's the {x}", "tell me where the {x} is")))
    yield SpaceItem("where", words.format(x=name(one)), None, frozenset({one.id}))
    yield from _sets(other, situation, rng)
    yield _compare(one, other, rng)


def name(still: Still) -> str:
    """Colour and label, as they are said."""
    return " ".join((*still.attributes[:1], still.label))


def phrase_of(still: Still) -> NounPhrase:
    """The same as a phrase."""
    return NounPhrase(still.label, still.attributes[:1])


def _single(situation: Situation) -> list[Still]:
    """Objects that their name and colour tell apart."""
    names = [name(still) for still in situation.objects.values()]
    return [still for still in situation.objects.values() if names.count(name(still)) == 1 and still.front is None]


def _whether(one: Still, other: Still, relation: str, situation: Situation, rng: np.random.Generator) -> SpaceItem:
    asked = dataclasses.replace(phrase_of(one), relations=(RelationClause(relation, (phrase_of(other),)),))
    found = meaning(asked, situation)
    said = {"inside": "in"}.get(relation, relation)
    words = str(rng.choice((
        "is the {x} {r} the {y}?", "is the {x} {r} the {y}", "can you tell me whether the {x} is {r} the {y}?",
        "hey robot, is the {x} {r} the {y}?",
    )))  # fmt: skip
    value = "yes" if found.status is Status.OK else "no"
    return SpaceItem("whether", words.format(x=name(one), y=name(other), r=said), value, None, found.sure >= 1.0)


def _sets(anchor: Still, situation: Situation, rng: np.random.Generator) -> Iterator[SpaceItem]:
    """What is there, how many, and whether there is any: of all objects, each judged by itself."""
    relation = str(rng.choice(("left of", "right of", "behind", "in front of", "next to")))
    fits, sure = [], math.inf
    for still in situation.objects.values():
        if still.id == anchor.id:
            continue
        alone = Situation({still.id: still, anchor.id: anchor}, situation.stands, situation.support)
        clause = RelationClause(relation, (phrase_of(anchor),))
        asked = NounPhrase(still.label, still.attributes[:1], relations=(clause,))
        found: Meaning = meaning(asked, alone)
        sure = min(sure, found.sure, *([0.0] if _over(still, anchor) else []))
        if found.status is Status.OK and still.id in found.ids:
            fits.append(still)
    clear = sure >= 1.0
    ids = frozenset(still.id for still in fits)
    place = f"{relation} the {name(anchor)}"
    yield SpaceItem("which", f"what is {place}?", None, ids, clear)
    yield SpaceItem("count", f"how many objects are {place}?", float(len(fits)), ids, clear)
    label = str(rng.choice(sorted({still.label for still in situation.objects.values()})))
    some = [still for still in fits if still.label == label]
    yield SpaceItem("exists", f"is there a {label} {place}?", "yes" if some else "no", None, clear)
    many = [still for still in situation.objects.values() if still.label == label]
    yield SpaceItem("count", f"how many {_plural(label)} are there?", float(len(many)), frozenset(s.id for s in many))


def _over(one: Still, other: Still) -> bool:
    """Whether the centre of one lies within the outline of the other: then it is on neither side of it."""
    return _within(one.place[None], other.outline) or _within(other.place[None], one.outline)


def _plural(label: str) -> str:
    if label.endswith(("s", "ch", "sh", "x")):
        return label + "es"
    return label[:-1] + "ves" if label == "shelf" else label + "s"


def _compare(one: Still, other: Still, rng: np.random.Generator) -> SpaceItem:
    taller = one if one.size[2] > other.size[2] else other
    apart = abs(float(one.size[2] - other.size[2]))
    clear = apart > max(0.02, 0.15 * float(max(one.size[2], other.size[2])))
    words = str(rng.choice(("which is taller, the {x} or the {y}?", "which one is taller, the {x} or the {y}?")))
    return SpaceItem("compare", words.format(x=name(one), y=name(other)), None, frozenset({taller.id}), clear)


def _distance(one: Still, other: Still, rng: np.random.Generator) -> SpaceItem:
    words = str(rng.choice((
        "how far is the {x} from the {y}?", "what is the distance between the {x} and the {y}?",
        "how far apart are the {x} and the {y}?", "how close is the {x} to the {y}",
    )))  # fmt: skip
    up = max(one.bottom - other.top, other.bottom - one.top, 0.0)
    value = math.hypot(outlines_apart(one.outline, other.outline), up)
    return SpaceItem("distance", words.format(x=name(one), y=name(other)), value)


def _edge(one: Still, situation: Situation, rng: np.random.Generator) -> SpaceItem:
    low, high = situation.support.outline.min(axis=0), situation.support.outline.max(axis=0)
    value = float(min((one.outline - low).min(), (high - one.outline).min()))
    words = str(rng.choice(("how far is the {x} from the edge?", "how far is the {x} from the edge of the table?")))
    return SpaceItem("edge", words.format(x=name(one)), value)


def _viewer(one: Still, eye: np.ndarray, rng: np.random.Generator) -> SpaceItem:
    robot = bool(rng.random() < 0.5)
    place = np.zeros(3) if robot else eye
    height = min(max(float(place[2]), one.bottom), one.top)
    value = math.hypot(outlines_apart(place[None, :2], one.outline), float(place[2]) - height)
    words = f"how far is the {name(one)} from you?" if robot else f"how far away is the {name(one)}?"
    return SpaceItem("viewer", words, value)


def _size(one: Still, rng: np.random.Generator) -> SpaceItem:
    word = str(rng.choice(list(_LENGTHS)))
    index = _LENGTHS[word]
    return SpaceItem("size", f"how {word} is the {name(one)}?", float(one.size.max() if index < 0 else one.size[index]))


def outlines_apart(one: np.ndarray, other: np.ndarray) -> float:
    """Metres between two convex outlines, (K, 2) and (M, 2): the least over all pairs of a corner and an edge."""
    if _within(one, other) or _within(other, one) or _crossing(one, other):
        return 0.0
    return min(
        _to_segment(corner, start, end)
        for corners, outline in ((one, other), (other, one))
        for corner in corners
        for start, end in zip(outline, np.roll(outline, -1, axis=0), strict=True)
    )


def _to_segment(place: np.ndarray, start: np.ndarray, end: np.ndarray) -> float:
    way = end - start
    share = float(np.clip((place - start) @ way / max(float(way @ way), 1e-18), 0.0, 1.0))
    return float(np.linalg.norm(place - start - share * way))


def _within(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether a corner of one outline lies in the other one."""
    if len(other) < 3:
        return False
    sides = np.roll(other, -1, axis=0) - other
    offset = one[:, None] - other
    turns = sides[:, 0] * offset[..., 1] - sides[:, 1] * offset[..., 0]
    return bool(((turns >= 0).all(axis=1) | (turns <= 0).all(axis=1)).any())


def _crossing(one: np.ndarray, other: np.ndarray) -> bool:
    for a, b in zip(one, np.roll(one, -1, axis=0), strict=True):
        for c, d in zip(other, np.roll(other, -1, axis=0), strict=True):
            if _turn(a, b, c) * _turn(a, b, d) < 0 and _turn(c, d, a) * _turn(c, d, b) < 0:
                return True
    return False


def _turn(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> float:
    return float((b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0]))
