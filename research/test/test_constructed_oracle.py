# SPDX-License-Identifier: Apache-2.0
"""What phrases mean among a few objects at known places; the viewer looks along +x."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from research.constructed.oracle import Situation, anchors_of, meaning
from research.constructed.stage import support
from research.constructed.standpoint import Standpoint
from research.constructed.still import Still
from spatial_vlm_ros.types import Distance, FrameOfReference, NounPhrase, Ordinal, RelationClause, Status

VIEWER, ROBOT = FrameOfReference.VIEWER, FrameOfReference.ROBOT


def obj(
    id_: str, label: str, x: float, y: float, height: float = 0.1, words: tuple[str, ...] = (), bottom: float = 0.1,
    front: tuple[float, float] | None = None, side: float = 0.06,
) -> Still:  # fmt: skip
    h = side / 2
    corners = np.array([(x - h, y - h), (x + h, y - h), (x + h, y + h), (x - h, y + h)])
    ahead = None if front is None else np.array(front)
    size = np.array([side, side, height])
    return Still(id_, label, words, corners, np.array([x, y, bottom + height / 2]), np.array([1.0, 0.0]), size, ahead)


def scene(*objects: Still) -> Situation:
    """Things before a viewer at the origin, and a robot on the other side of them."""
    stands = {VIEWER: Standpoint(np.array([0.0, 0.0, 0.6])), ROBOT: Standpoint(np.array([2.0, 0.0, 0.0]))}
    return Situation({t.id: t for t in objects}, stands, support())


BOX, BOWL = obj("box", "box", 1.0, 0.0), obj("bowl", "bowl", 1.0, -0.3)
LEFT, RIGHT = obj("l", "cup", 1.0, 0.12, words=("red",)), obj("r", "cup", 1.0, -0.12, words=("blue",))
TWO = scene(BOX, LEFT, RIGHT)


def cup(relation: str, *anchors: NounPhrase, **more: object) -> NounPhrase:
    clause = RelationClause(relation, anchors or (NounPhrase("box"),), **more)  # type: ignore[arg-type]
    return NounPhrase("cup", relations=(clause,))


def test_the_one_that_fits_is_meant_and_its_margin_told() -> None:
    found = meaning(cup("left of"), TWO)
    assert (found.status, found.ids) == (Status.OK, ("l",))
    assert found.margins == pytest.approx({"l": 0.12, "r": -0.12})
    assert found.sure == pytest.approx(6.0)  # 12 cm of 2


def test_negation_and_frames_turn_it_round() -> None:
    assert meaning(cup("left of", negated=True), TWO).ids == ("r",)
    assert meaning(cup("left of", frame=ROBOT), TWO).ids == ("r",)


def test_statuses_of_what_fits_nothing_or_too_much() -> None:
    assert meaning(NounPhrase("cup"), TWO).status is Status.AMBIGUOUS
    assert meaning(cup("on"), TWO).status is Status.RELATION_UNSATISFIED
    assert meaning(NounPhrase("spoon"), TWO).status is Status.NOT_FOUND
    assert meaning(cup("left of", NounPhrase("spoon")), TWO).status is Status.NOT_FOUND
    assert meaning(NounPhrase("cup", ("green",)), TWO).status is Status.NOT_FOUND
    assert meaning(NounPhrase("cup", ("red",)), TWO).ids == ("l",)


def test_plurals_count_and_any_takes_all_that_fit() -> None:
    clause = (RelationClause("next to", (NounPhrase("box"),)),)
    assert meaning(NounPhrase("cup", count=2, relations=clause), TWO).ids == ("l", "r")
    assert meaning(NounPhrase("cup", count=-1, relations=clause), TWO).status is Status.OK
    assert meaning(NounPhrase("cup", count=3, relations=clause), TWO).status is Status.RELATION_UNSATISFIED
    assert meaning(NounPhrase("cup", relations=clause, choice="any"), TWO).ids == ("l", "r")
    three = scene(BOX, LEFT, RIGHT, obj("n", "cup", 0.88, 0.0))
    assert meaning(NounPhrase("cup", count=2, relations=clause), three).status is Status.AMBIGUOUS


def test_several_anchors_all_or_any_by_the_relation() -> None:
    middle = obj("m", "cup", 1.0, -0.15)
    both = (NounPhrase("box"), NounPhrase("bowl"))
    world = scene(BOX, BOWL, LEFT, middle)
    assert meaning(cup("left of", *both), world).ids == ("l",)
    assert meaning(cup("left of", NounPhrase("bowl")), world).status is Status.AMBIGUOUS
    assert meaning(cup("next to", *both), world).status is Status.AMBIGUOUS
    assert meaning(cup("between", *both), world).ids == ("m",)


def test_nested_anchors_choose_the_right_box() -> None:
    far_box = obj("b2", "box", 1.0, -0.6)
    cups = (obj("c1", "cup", 1.15, 0.0), obj("c2", "cup", 1.15, -0.6))
    nested = NounPhrase("box", relations=(RelationClause("left of", (NounPhrase("bowl"),)),))
    world = scene(BOX, far_box, BOWL, *cups)
    assert meaning(cup("behind", nested), world).ids == ("c1",)
    assert anchors_of(cup("behind", nested), world) == {"box", "bowl"}
    assert meaning(cup("behind"), world).status is Status.AMBIGUOUS  # either box has one behind it


def test_orders_ordinals_and_closest() -> None:
    row = scene(BOX, *(obj(f"c{n}", "cup", 1.0, 0.3 - 0.17 * n, 0.1 + 0.03 * n) for n in range(3)))

    def ids(phrase: NounPhrase) -> tuple[str, ...]:
        return meaning(phrase, row).ids

    assert ids(NounPhrase("cup", superlative="leftmost")) == ("c0",)
    assert ids(NounPhrase("cup", superlative="leftmost", frame=ROBOT)) == ("c2",)
    assert ids(NounPhrase("cup", superlative="tallest")) == ("c2",)
    assert ids(NounPhrase("cup", superlative="middle")) == ("c1",)
    assert ids(NounPhrase("cup", ordinal=Ordinal(2, "left"))) == ("c1",)
    assert ids(NounPhrase("cup", ("big",))) == ("c2",)
    assert ids(cup("closest to")) == ("c2",)
    assert ids(cup("farthest from")) == ("c0",)
    assert ids(replace(cup("left of"), superlative="rightmost")) == ("c1",)  # within what the clause leaves
    assert meaning(NounPhrase("cup", ordinal=Ordinal(4, "left")), row).status is Status.RELATION_UNSATISFIED
    assert meaning(NounPhrase("cup", superlative="middle"), TWO).status is Status.RELATION_UNSATISFIED


def test_a_close_order_is_unsure() -> None:
    close = scene(obj("a", "cup", 1.0, 0.1, 0.100), obj("b", "cup", 1.0, -0.1, 0.105))
    found = meaning(NounPhrase("cup", superlative="tallest"), close)
    assert found.ids == ("b",)
    assert found.sure == pytest.approx(0.005 / (0.15 * 0.1025))  # 5 mm of 15 % of the size


def test_an_own_front_that_chooses_another_object_makes_a_question() -> None:
    chair = obj("chair", "chair", 1.0, 0.0, front=(-1.0, 0.0))  # looks at the viewer: its left is our right
    world = scene(chair, LEFT, RIGHT)
    said = NounPhrase("chair")
    assert meaning(cup("left of", said), world).status is Status.AMBIGUOUS
    assert meaning(cup("left of", said, frame=VIEWER), world).ids == ("l",)
    assert meaning(cup("left of", said, frame=FrameOfReference.OBJECT), world).ids == ("r",)
    same = scene(replace(chair, front=np.array([1.0, 0.0])), LEFT, RIGHT)
    assert meaning(cup("left of", said), same).ids == ("l",)


def test_the_table_is_an_anchor_that_nobody_detects() -> None:
    world = scene(BOX, LEFT, obj("up", "cup", 1.0, 0.0, bottom=0.2))
    assert meaning(cup("on", NounPhrase("table")), world).ids == ("l",)
    assert meaning(cup("on"), world).ids == ("up",)


def test_stated_distances_and_other_than() -> None:
    far = obj("f", "cup", 1.0, 0.4)
    world = scene(BOX, LEFT, far)
    assert meaning(cup("left of", distance=Distance(0.34)), world).ids == ("f",)
    assert meaning(cup("at a distance from", distance=Distance(0.1, "at most")), world).ids == ("l",)
    assert meaning(cup("at a distance from", distance=Distance(0.2, "at least")), world).ids == ("f",)
    other = NounPhrase("cup", relations=(RelationClause("other than", (NounPhrase("cup", ("red",)),)),))
    assert meaning(other, TWO).ids == ("r",)
    assert meaning(other, TWO).sure == math.inf


def test_nothing_is_left_of_what_has_no_front_of_its_own() -> None:
    """So an object that was given the name of a car by mistake leaves the question without an answer."""
    assert meaning(cup("left of", frame=FrameOfReference.OBJECT), TWO).status is Status.RELATION_UNSATISFIED


def test_a_label_may_say_more_than_the_name() -> None:
    drawers = [obj(f"d{n}", f"{word} drawer", 1.0, 0.0, bottom=0.1 + 0.2 * n) for n, word in enumerate(("low", "top"))]
    assert meaning(NounPhrase("drawer", ("top",)), scene(*drawers)).ids == ("d1",)
    assert meaning(NounPhrase("drawer", superlative="lowest"), scene(*drawers)).ids == ("d0",)


def test_between_needs_two_objects_and_closest_to_one() -> None:
    boxes = NounPhrase("box", count=2)
    assert meaning(cup("between", boxes), TWO).status is Status.RELATION_UNSATISFIED
    two_boxes = scene(BOX, obj("b2", "box", 1.0, 0.4), LEFT, RIGHT)
    assert meaning(cup("between", boxes), two_boxes).ids == ("l",)
    assert meaning(cup("closest to"), two_boxes).status is Status.AMBIGUOUS
