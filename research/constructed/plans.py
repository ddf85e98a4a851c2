# SPDX-License-Identifier: Apache-2.0
"""Every kind of scene by the name it is reported under."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from research.constructed import plans_ground as ground
from research.constructed import plans_height as height
from research.constructed import plans_order as order
from research.constructed import plans_words as words
from research.constructed.stage import Play, Stage
from spatial_vlm_ros.types import FrameOfReference


@dataclass(frozen=True)
class Plan:
    """How a scene is made.

    Args:
        make: sets the stage and says what is asked.
        pitch_deg: range of the camera's pitch; None = the published one.
        far: whether the camera stands back.
        refuses: whether ambiguous and unsatisfied scenes are made of it, too.
    """

    make: Callable[[Stage], Play]
    pitch_deg: tuple[float, float] | None = None
    far: bool = False
    refuses: bool = True


_LOW, _HIGH, _FLAT = (15.0, 32.0), (40.0, 60.0), (15.0, 28.0)
_DIRECTIONS = ("left of", "right of", "behind", "in front of")
_FRAMES = (FrameOfReference.ROBOT, FrameOfReference.SPEAKER, FrameOfReference.WORLD)
_FLAT_PARTS = (
    "at the edge of", "at the corner of", "at the centre of", "at the end of", "at the left side of",
    "at the right side of", "at the front of", "at the back of",
)  # fmt: skip
_TALL_PARTS = ("at the top of", "in the middle of the height of", "at the bottom of")


def _table() -> dict[str, Plan]:
    plans = {r: Plan(partial(ground.direction, relation=r)) for r in (*_DIRECTIONS, "on the other side of")}
    for frame in _FRAMES:
        for r in _DIRECTIONS:
            plans[f"{r} ({frame.value})"] = Plan(partial(ground.direction, relation=r, frame=frame))
    for said in ("object", "viewer"):
        for r in _DIRECTIONS:
            plans[f"{r} (front, {said} said)"] = Plan(partial(ground.own_side, relation=r, said=said))
    for r in _DIRECTIONS:
        plans[f"{r} (front, nothing said)"] = Plan(partial(ground.fronts_differ, relation=r), refuses=False)
    plans["on the other side of (from)"] = Plan(ground.other_side_from)
    plans["opposite"] = Plan(ground.across, far=True)
    plans["opposite (front)"] = Plan(ground.before_front)
    for r in ("next to", "near", "around", "far from"):
        plans[r] = Plan(partial(ground.distance, relation=r), far=r != "next to")
    for r in (*_DIRECTIONS, "next to"):
        plans[f"{r} (stated)"] = Plan(partial(ground.at_distance, relation=r))
    plans["at a distance from"] = Plan(partial(ground.at_distance, relation="at a distance from"))
    for r in ("closest to", "farthest from"):
        plans[r] = Plan(partial(ground.closeness, relation=r), refuses=False)
    for r in ("closer than", "farther than"):
        plans[r] = Plan(partial(ground.nearness, relation=r))
    for r in ("between", "among"):
        plans[r] = Plan(partial(ground.group, relation=r, plural=r == "among"))
    plans["between (plural)"] = Plan(partial(ground.group, relation="between", plural=True))
    for r in ("facing", "facing away from"):
        plans[r] = Plan(partial(ground.fronted, relation=r))
    plans |= _heights()
    plans |= _orders()
    return plans | _words()


def _heights() -> dict[str, Plan]:
    plans = {
        "on": Plan(partial(height.on_an_object, relation="on")),
        "supporting": Plan(partial(height.on_an_object, relation="supporting"), refuses=False),
        "on (table)": Plan(height.on_the_table),
    }
    for r in ("above", "below", "under"):
        plans[r] = Plan(partial(height.over_and_under, relation=r), _LOW)
    for r in ("higher than", "lower than"):
        plans[r] = Plan(partial(height.heights, relation=r))
    for r in ("inside", "out of", "containing"):
        plans[r] = Plan(partial(height.contained, relation=r), _HIGH, refuses=r != "containing")
    for r in ("touching", "against"):
        plans[r] = Plan(partial(height.contact, relation=r))
    for r in _FLAT_PARTS:
        plans[r] = Plan(partial(height.part_of_flat, relation=r), (25.0, 60.0))
    for r in _TALL_PARTS:
        plans[r] = Plan(partial(height.part_of_tall, relation=r), _FLAT, far=True)
    plans["part of"] = Plan(partial(height.drawers, how="labelled"), _LOW, far=True, refuses=False)
    plans["part of, highest or lowest"] = Plan(partial(height.drawers, how="highest"), _LOW, far=True, refuses=False)
    return plans


def _orders() -> dict[str, Plan]:
    plans = {r: Plan(partial(order.comparison, relation=r)) for r in order.COMPARISONS}
    plans |= {w: Plan(partial(order.size_superlative, word=w), refuses=False) for w in order.SIZE_SUPERLATIVES}
    for w in ("leftmost", "rightmost", "middle", "nearest", "farthest"):
        plans[w] = Plan(partial(order.superlative, word=w), refuses=False)
    for frame in (FrameOfReference.ROBOT, FrameOfReference.SPEAKER):
        make = partial(order.superlative, word="leftmost", frame=frame)
        plans[f"leftmost ({frame.value})"] = Plan(make, refuses=False)
    for side in ("left", "right", "near", "far"):
        plans[f"n-th from the {side}"] = Plan(partial(order.ordinal, side=side))
    for w in ("highest", "lowest"):
        plans[w] = Plan(partial(order.high_and_low, word=w, ranked=False), refuses=False)
    for w in ("top", "bottom"):
        plans[f"n-th from the {w}"] = Plan(partial(order.high_and_low, word=w, ranked=True), refuses=False)
    return plans


def _words() -> dict[str, Plan]:
    return {
        "two clauses": Plan(words.two_clauses),
        "two anchors": Plan(words.two_anchors),
        "nested": Plan(words.nested),
        "number of things": Plan(partial(words.plural, said="number")),
        "all things": Plan(partial(words.plural, said="all"), refuses=False),
        "any thing": Plan(partial(words.plural, said="any"), refuses=False),
        "other than": Plan(words.other_than, refuses=False),
        "bare name": Plan(partial(words.attribute, how="name")),
        "colour": Plan(partial(words.attribute, how="colour"), refuses=False),
        "size word": Plan(partial(words.attribute, how="size"), refuses=False),
        "coloured anchor": Plan(words.told_by_colour),
    }


PLANS: Mapping[str, Plan] = MappingProxyType(_table())
"""How each scene is made, by the name that it is reported under."""
RELATIONS: tuple[str, ...] = tuple(PLANS)
