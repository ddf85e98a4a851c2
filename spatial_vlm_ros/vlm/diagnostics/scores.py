# SPDX-License-Identifier: Apache-2.0
"""Turn answers into scores, each with its 95 % interval."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from spatial_vlm_ros.types.proportions import Interval, Share, newcombe_paired, wilson
from spatial_vlm_ros.vlm.diagnostics.examination import Examined
from spatial_vlm_ros.vlm.diagnostics.items import AXES, KINDS


@dataclass(frozen=True)
class Section:
    """Scores of the items of one kind or one axis; shares without items are 0 of 0.

    Args:
        name: "all", a kind or an axis.
        corrected: (accuracy - chance) / (1 - chance), ends from the Wilson interval: 0 = a guess, 1 = all right. None
            for an axis: "left-right" is not a balanced set, because a constant answer is right in half of its
            relations.
        turned_along: among items whose truth lies along left-right, answers that change consistently with the mirrored
            image; of those along above-below, with the image upside down; of depth, with the objects exchanged.
        opposite: among items along left-right or above-below, answers that are true in the image mirrored along that
            axis.
        same_place: answers that keep their index in the list when candidates are rotated.
    """

    name: str
    n: int
    chance: float
    accuracy: Share
    corrected: Interval | None
    blank: Share
    gain: Interval
    same_blank: Share
    mirrored: Share
    flipped: Share
    turned_along: Share
    opposite: Share
    same_shuffled: Share
    same_place: Share
    same_paraphrased: Share


@dataclass(frozen=True)
class Cue:
    """Accuracy on depth questions by a depth cue."""

    cue: str
    usual: Share
    counter: Share
    difference: Interval


def sections_of(examined: Sequence[Examined]) -> tuple[Section, ...]:
    """Scores of all items, of each kind and of each axis with items; depth, both kind and axis, is listed once."""
    sets = {"all": list(examined)}
    sets |= {kind: [e for e in examined if e.item.kind == kind] for kind in KINDS}
    sets |= {axis: [e for e in examined if e.item.axis == axis] for axis in AXES if axis not in sets}
    return tuple(
        _section(name, some, balanced=name not in AXES or name in KINDS) for name, some in sets.items() if some
    )


def cues_of(examined: Sequence[Examined]) -> tuple[Cue, ...]:
    """Scores for each depth cue in the items."""
    names = dict.fromkeys(name for e in examined for name in e.item.cues)
    return tuple(_cue(name, [e for e in examined if name in e.item.cues]) for name in names)


def corrected_for_chance(accuracy: Share, chance: float) -> Interval:
    """(accuracy - chance) / (1 - chance), with the ends of the interval transformed alike."""
    value, low, high = ((p - chance) / (1 - chance) for p in (accuracy.share, accuracy.low, accuracy.high))
    return Interval(value, low, high)


def paired_difference(first: Sequence[bool], second: Sequence[bool]) -> Interval:
    """Share of the first minus share of the second, over the same cases; without cases the interval is -1 to 1."""
    pairs = list(zip(first, second, strict=True))
    counts = (pairs.count(ways) for ways in ((True, True), (True, False), (False, True), (False, False)))
    return newcombe_paired(*counts) or Interval(0.0, -1.0, 1.0)


def _section(name: str, examined: Sequence[Examined], *, balanced: bool) -> Section:
    n = len(examined)
    chance = sum(e.item.chance for e in examined) / n
    accuracy = _share(examined, lambda e: e.right)
    return Section(
        name, n, chance, accuracy,
        corrected_for_chance(accuracy, chance) if balanced else None,
        _share(examined, lambda e: e.right_when_blank),
        paired_difference([e.right for e in examined], [e.right_when_blank for e in examined]),
        _share(examined, lambda e: e.answers["blank"] == e.answers["picture"]),
        _share(examined, lambda e: e.answers["mirrored"] == e.item.mirrored),
        _share((e for e in examined if e.item.flip is not None), lambda e: e.answers["flipped"] == e.item.flipped),
        _share(examined, _turned_along),
        _share((e for e in examined if e.item.axis != "depth"), _opposite),
        _share(examined, lambda e: e.answers["shuffled"] == e.answers["picture"]),
        _share(examined, lambda e: e.kept_place),
        _share(examined, lambda e: e.answers["paraphrased"] == e.answers["picture"]),
    )  # fmt: skip


def _turned_along(examined: Examined) -> bool:
    item, answers = examined.item, examined.answers
    was = answers["picture"]
    if item.axis == "left-right":
        return answers["mirrored"] == item.mirror.get(was, was)
    if item.axis == "above-below":
        return answers["flipped"] == (item.flip or {}).get(was, was)
    return answers["swapped"] != was


def _opposite(examined: Examined) -> bool:
    item = examined.item
    return examined.answers["picture"] == (item.mirrored if item.axis == "left-right" else item.flipped)


def _cue(name: str, examined: Sequence[Examined]) -> Cue:
    def pairs_by(e: Examined) -> tuple[object, ...]:
        others = tuple(sorted((cue, holds) for cue, holds in e.item.cues.items() if cue != name))
        return e.item.group, e.item.truth, others

    usual = {pairs_by(e): e.right for e in examined if e.item.cues[name]}
    counter = {pairs_by(e): e.right for e in examined if not e.item.cues[name]}
    both = [key for key in usual if key in counter]
    return Cue(
        name,
        _share((e for e in examined if e.item.cues[name]), lambda e: e.right),
        _share((e for e in examined if not e.item.cues[name]), lambda e: e.right),
        paired_difference([usual[key] for key in both], [counter[key] for key in both]),
    )


def _share(examined: Iterable[Examined], good: Callable[[Examined], bool]) -> Share:
    outcomes = [good(e) for e in examined]
    return wilson(sum(outcomes), len(outcomes))
