# SPDX-License-Identifier: Apache-2.0
"""Scenes for comparisons, superlatives and ordinals."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from research.constructed.distribution import RAISED_SHARE, SIZES
from research.constructed.margins import LENGTHS
from research.constructed.order import order_of, place_in
from research.constructed.plans_ground import label_of, play
from research.constructed.scaling import stretched
from research.constructed.stage import SMALL, NoRoom, Play, Stage
from research.constructed.still import Form, Still
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, Ordinal, RelationClause, Status, Vector3

_KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "tall": ("cup", "can", "bottle", "box", "crate"),
        "large": ("box", "can", "bowl", "cup", "bottle", "apple"),
        "long": ("box", "tray", "banana", "bottle"),
        "wide": ("box", "bowl", "crate", "can"),
        "narrow": ("box", "crate", "can", "bottle"),
        "thick": ("box", "crate", "can"),
    }
)
"""Kinds that each length is compared of."""
_SCALES = (0.55, 2.2)  # an object is stretched by no less and no more
_LENGTH_OF: Mapping[str, str] = MappingProxyType(
    {
        "tallest": "tall",
        "shortest": "tall",
        "largest": "large",
        "smallest": "large",
        "longest": "long",
        "widest": "wide",
        "narrowest": "narrow",
        "thickest": "thick",
        "thinnest": "thick",
        "taller than": "tall",
        "shorter than": "tall",
        "larger than": "large",
        "smaller than": "large",
        "longer than": "long",
        "wider than": "wide",
        "narrower than": "narrow",
        "thicker than": "thick",
        "thinner than": "thick",
    }
)
SIZE_SUPERLATIVES = tuple(w for w in _LENGTH_OF if " " not in w)
COMPARISONS = tuple(w for w in _LENGTH_OF if " " in w)
_DOWN = ("shortest", "smallest", "narrowest", "thinnest", "shorter than", "smaller than", "narrower than",
         "thinner than")  # fmt: skip


def length_of(form: Form, length: str) -> float:
    """A length of an object wherever it stands."""
    return LENGTHS[length](form.at("", (0.0, 0.0, 0.0), 0.0))


def with_length(form: Form, length: str, metres: float) -> Form:
    """The object stretched until a length is as wanted: upwards for tall, all over for the others.

    Raises:
        NoRoom: it would not be an object of that kind any more.
    """
    factor = metres / length_of(form, length)
    if not _SCALES[0] < factor < _SCALES[1]:
        raise NoRoom
    factors: Vector3 = (1.0, 1.0, factor) if length == "tall" else (factor, factor, factor)
    return Form.of(stretched(form.model, factors))


def comparison(stage: Stage, relation: str) -> Play:
    """Taller than … thinner than."""
    length, sign = _LENGTH_OF[relation], -1.0 if relation in _DOWN else 1.0
    kinds = [str(k) for k in stage.rng.permutation(_KINDS[length])[:2]]
    zone = stage.disc(stage.middle, 0.32)
    anchor_form = stage.forms(kinds[0], 1)[0]
    start = stage.forms(kinds[1], 1)[0]
    middle = (length_of(anchor_form, length) + length_of(start, length)) / 2
    anchor = stage.put(with_length(anchor_form, length, middle), zone)
    fit = stage.wanted()
    fitting = []
    for number, form in enumerate(stage.forms(kinds[1], fit + min(stage.others(), 2))):
        off = stage.margin(SIZES) * (1 if number < fit else -1)
        still = stage.put(with_length(form, length, LENGTHS[length](anchor) + sign * off), zone)
        fitting += [still] if number < fit else []
    stage.clutter(tuple(kinds))
    return play(stage, kinds[1], [RelationClause(relation, (label_of(anchor),))], fitting)


def size_superlative(stage: Stage, word: str) -> Play:
    """Tallest … thinnest of several of a kind."""
    target, kind = in_size(stage, word, stage.number((2, 4)))
    stage.clutter((kind,))
    return Play(NounPhrase(kind, superlative=word), Status.OK, (target.id,))


def in_size(stage: Stage, word: str, number: int) -> tuple[Still, str]:
    """Several of a kind of different sizes; returns the one that the superlative names, and the kind."""
    length, sign = _LENGTH_OF[word], 1.0 if word in _DOWN else -1.0
    kind = stage.choose(_KINDS[length])
    forms = stage.forms(kind, number)
    sizes = [length_of(forms[0], length)]
    for _ in forms[1:]:
        sizes.append(sizes[-1] + sign * stage.margin(SIZES))
    stills = [stage.put(with_length(f, length, s), stage.disc(stage.middle, 0.32))
              for f, s in zip(forms, sizes, strict=True)]  # fmt: skip
    return stills[0], kind


def in_order(stage: Stage, word: str, number: int, frame: FrameOfReference | None = None) -> tuple[list[Still], str]:
    """Things of a kind, each after the one before by a margin drawn, in the order that a word names."""
    kind = stage.choose(SMALL)
    stand, stills = stage.stand(frame), list[Still]()
    raising = word in ("nearest", "farthest", "near", "far") and stage.rng.random() < RAISED_SHARE
    zone, first = stage.disc(stage.middle, 0.36), stage.disc(stage.middle, 0.36)
    for at, form in enumerate(stage.forms(kind, number)):
        nearer_end = at == 0 if word in ("nearest", "near") else at > 0
        raised = stage.forms("crate", 1)[0] if raising and nearer_end else None

        def later(s: Still) -> float:
            keys = order_of(word, [stills[-1], s], stand)
            return keys[1][0] - keys[0][0]

        if stills:
            stills.append(stage.put(form, zone, later, stage.margin(), raised=raised))
        else:
            stills.append(stage.put(form, first, lambda s: _early(stage, word, s, frame), 0.15, raised=raised))
    return stills, kind


def _early(stage: Stage, word: str, still: Still, frame: FrameOfReference | None) -> float:
    """How far before the middle of the table, in the order that a word names: leaves room for the others."""
    middle = still.moved((*(stage.middle - still.place).tolist(), 0.0))
    keys = order_of(word, [still, middle], stage.stand(frame))
    return keys[1][0] - keys[0][0]


def superlative(stage: Stage, word: str, frame: FrameOfReference | None = None) -> Play:
    """Leftmost, rightmost, middle, nearest, farthest.

    Raises:
        NoRoom: the objects stand so that no one is clearly in the middle.
    """
    number = 3 if word == "middle" else stage.number((2, 4))
    if word == "middle":
        stills, kind = in_order(stage, stage.choose(("leftmost", "nearest")), number, frame)
        places = place_in(order_of(word, stills, stage.stand(frame)), word, 0)
        target, (clear, _) = max(zip(stills, places, strict=True), key=lambda pair: pair[1])
        if clear < 1.0:
            raise NoRoom
    else:
        stills, kind = in_order(stage, word, number, frame)
        target = stills[0]
    stage.clutter((kind,))
    return Play(NounPhrase(kind, superlative=word, frame=frame), Status.OK, (target.id,))


def ordinal(stage: Stage, side: str) -> Play:
    """The n-th from the left, right, near or far; "unsatisfied": one more than there are."""
    number = stage.number((3, 4))
    stills, kind = in_order(stage, side, number)
    stage.clutter((kind,))
    n = number + 1 if stage.kind == "unsatisfied" else stage.number((1, number))
    phrase = NounPhrase(kind, ordinal=Ordinal(n, side))
    if stage.kind == "unsatisfied":
        return Play(phrase, Status.RELATION_UNSATISFIED, ())
    return Play(phrase, Status.OK, (stills[n - 1].id,))


def high_and_low(stage: Stage, word: str, ranked: bool) -> Play:
    """Highest and lowest, and the n-th from the top or bottom: objects on crates of different heights.

    Args:
        stage: the scene so far.
        word: "highest" or "lowest", or "top" or "bottom" of an ordinal.
        ranked: whether an ordinal is asked for.
    """
    kind = stage.choose(("cup", "can", "apple", "lemon", "orange"))
    number, down = stage.number((2, 4)), word in ("highest", "top")
    heights = [0.0]
    for _ in range(number - 1):
        heights.append(heights[-1] + min(stage.margin(), 0.08))
    stills = []
    for lift, form in zip(heights, stage.forms(kind, number), strict=True):
        crate = stage.forms("crate", 1)[0]
        thick = lift + 0.02 if down else lift
        raised = None if thick < 0.01 else Form.of(stretched(crate.model, (1.0, 1.0, thick / float(crate.size[2]))))
        stills.append(stage.put(form, stage.disc(stage.middle, 0.3), raised=raised))
    keys = order_of(word, stills, stage.stand(None))
    ranking = sorted(range(number), key=lambda k: keys[k][0])
    n = stage.number((1, number)) if ranked else 1
    stage.clutter((kind, "crate"))
    said = {"ordinal": Ordinal(n, word)} if ranked else {"superlative": word}
    return Play(NounPhrase(kind, **said), Status.OK, (stills[ranking[n - 1]].id,))
