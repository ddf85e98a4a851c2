# SPDX-License-Identifier: Apache-2.0
"""Frames of reference: whose left, whose behind; and target and anchors chosen together, whatever is asked."""

import dataclasses
import itertools
from collections.abc import Sequence
from operator import eq
from typing import Any

import numpy as np
import pytest
from relation_scenes import LIMITS, VIEWER, Ground, Object, lay, margins, rotation, scorer_of, with_front
from relation_scenes import seen_by_another_camera as by_another_camera
from tables import tables

from spatial_vlm_ros.errors import FrameUndefinedError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.spatial import superlatives
from spatial_vlm_ros.spatial.answer import answer
from spatial_vlm_ros.spatial.belief import FLOOR, clause_likelihood
from spatial_vlm_ros.spatial.clauses import NEGLIGIBLE
from spatial_vlm_ros.spatial.decision import ResolvedChoice, decide
from spatial_vlm_ros.spatial.layout import Layout, is_own_sided
from spatial_vlm_ros.spatial.relations import RELATIONS, Pairs
from spatial_vlm_ros.types import FrameOfReference, NounPhrase, RelationClause, Scene, SpatialQuery, Status, Transform

EXACT = {"abs": 1e-9}
ROBOT, SPEAKER, WORLD, OBJECT = (FrameOfReference(name) for name in ("robot", "speaker", "world", "object"))
WORLD_LIMITS = dataclasses.replace(LIMITS, world_defined=True)
ANCHOR = Object(1.0, 0.0)


def heard(scene: Scene, speaker: Transform) -> Scene:
    return dataclasses.replace(scene, frame=dataclasses.replace(scene.frame, camera_T_speaker=speaker))


@pytest.mark.parametrize(
    ("stands", "place", "for_viewer", "for_robot"),
    [
        ((2.0, 0.0, 180.0), (1.0, 0.2), "right of", "left of"),  # across the table
        ((2.0, 0.0, 180.0), (1.2, 0.0), "behind", "in front of"),
        ((1.0, 1.0, -90.0), (1.0, -0.2), "left of", "behind"),  # 1 m to the right of the anchor, looks at it
        ((1.0, 1.0, -90.0), (1.2, 0.0), "behind", "right of"),
    ],
)
def test_a_robots_sides_are_others(ground: Ground, stands: Any, place: Any, for_viewer: str, for_robot: str) -> None:
    view = {"base_T_camera": ground.looking_from(*stands)}
    assert ground.margin(for_viewer, Object(*place), ANCHOR, VIEWER, **view) == pytest.approx(0.2, abs=1e-6)
    assert ground.margin(for_robot, Object(*place), ANCHOR, ROBOT, **view) == pytest.approx(0.2, abs=1e-6)
    if stands[0] == 2.0:
        assert ground.margin(for_viewer, Object(*place), ANCHOR, ROBOT, **view) == pytest.approx(-0.2, abs=1e-6)


def test_where_the_robot_looks_does_not_matter_but_where_it_stands(ground: Ground) -> None:
    turned = [ground.looking_from(0.2, 0.4, turn) for turn in (-120.0, 0.0, 35.0)]
    found = {round(ground.margin("behind", Object(1.3, 0.1), ANCHOR, ROBOT, base_T_camera=T), 6) for T in turned}
    assert len(found) == 1


@pytest.mark.parametrize("frame", [SPEAKER, WORLD, OBJECT, ROBOT])
def test_a_frame_that_nothing_defines_is_refused_with_a_repair(ground: Ground, frame: FrameOfReference) -> None:
    with pytest.raises(FrameUndefinedError, match=frame.value) as caught:
        ground.margin("left of", ANCHOR, Object(1.2, 0.0), frame)
    assert caught.value.repair
    assert caught.value.repair.lower() in str(caught.value).lower()


def test_from_across_the_table_my_left_is_your_right(ground: Ground) -> None:
    speaker = ground.looking_from(2.0, 0.0, 180.0).inverse()
    layout = lay(heard(ground.scene((Object(1.0, 0.2), ANCHOR)), Transform(speaker.parent, "speaker", speaker.matrix)))
    assert margins(layout, "left of", SPEAKER)[0, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "right of", VIEWER)[0, 1] == pytest.approx(0.2, **EXACT)


def test_a_speaker_who_looks_straight_up_still_stands_somewhere(ground: Ground) -> None:
    scene = ground.scene((Object(1.0, 0.2), ANCHOR))
    matrix, side = np.eye(4), np.array([1.0, 0.0, 0.0])
    matrix[:3, :3] = np.stack((scene.up, side, np.cross(scene.up, side)), axis=1)
    matrix[:3, 3] = (0.0, 0.0, 0.1)
    scene = heard(scene, Transform(scene.frame.frame_id, "speaker", matrix))
    assert np.isfinite(margins(lay(scene), "left of", SPEAKER)).all()


@pytest.mark.parametrize(
    ("azimuth_deg", "relation"), [(0.0, "behind"), (90.0, "right of"), (180.0, "in front of"), (-90.0, "left of")]
)
def test_in_the_world_ahead_is_the_same_azimuth_everywhere(ground: Ground, azimuth_deg: float, relation: str) -> None:
    """The base looks the camera's way; azimuth turns ahead to its left (counter-clockwise about z)."""
    limits = dataclasses.replace(WORLD_LIMITS, world_azimuth_deg=azimuth_deg)
    for aside in (-2.0, 0.0, 1.0):
        objects = Object(1.2, aside), Object(1.0, aside)
        layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.3, 0.2, 0.0)), limits)
        assert margins(layout, relation, WORLD)[0, 1] == pytest.approx(0.2, **EXACT)
        if relation == "behind":
            assert margins(layout, "left of", WORLD)[0, 1] == pytest.approx(0.0, **EXACT)


def test_in_the_world_orders_go_along_its_axes(ground: Ground) -> None:
    """Leftmost is the least far right in metres, not in bearing; nearest the least far ahead."""
    objects = Object(0.6, -0.25), Object(2.0, -0.3), ANCHOR
    layout = lay(ground.scene(objects, base_T_camera=ground.looking_from(0.0, 0.0, 0.0)), WORLD_LIMITS)
    view = layout.viewpoint(WORLD)
    assert np.argmin(superlatives.key_of("leftmost", layout, view).value) == 1
    assert np.argmin(superlatives.key_of("nearest", layout, view).value) == 0
    assert superlatives.key_of("nearest", layout, view).value[1] == pytest.approx(2.0, abs=1e-6)


@pytest.mark.parametrize(("defined", "has_base"), [(False, True), (True, False)])
def test_the_world_needs_an_azimuth_and_a_base(ground: Ground, defined: bool, has_base: bool) -> None:
    base = ground.looking_from(0.0, 0.0, 0.0) if has_base else None
    layout = lay(ground.scene((ANCHOR,), base_T_camera=base), dataclasses.replace(LIMITS, world_defined=defined))
    with pytest.raises(FrameUndefinedError, match="world"):
        layout.viewpoint(WORLD)


@pytest.mark.parametrize(("label", "left_is"), [("office chair", -0.2), ("stove", 0.2)])
def test_a_chairs_left_is_its_own_and_a_stoves_that_of_who_faces_it(ground: Ground, label: str, left_is: float) -> None:
    """Both face the camera: who sits in the chair has his left on the camera's right."""
    scene = ground.scene((Object(1.0, -0.2), ANCHOR, Object(0.8, 0.0)))
    layout = lay(with_front(scene, 1, -1.0, 0.0, label))
    assert margins(layout, "left of", OBJECT)[0, 1] == pytest.approx(left_is, **EXACT)
    assert margins(layout, "in front of", OBJECT)[2, 1] == pytest.approx(0.2, **EXACT)
    layout = lay(with_front(scene, 1, 1.0, 0.0, "chair"))  # looks away: behind it is between it and the camera
    assert margins(layout, "behind", OBJECT)[2, 1] == pytest.approx(0.2, **EXACT)
    assert margins(layout, "behind", VIEWER)[2, 1] == pytest.approx(-0.2, **EXACT)


def test_anchors_without_a_front_are_not_measured_and_without_any_it_is_said_which(ground: Ground) -> None:
    scene = ground.scene((Object(0.8, 0.0), Object(1.0, 0.0, label="sofa"), Object(1.2, 0.0, label="sofa")))
    with pytest.raises(FrameUndefinedError, match=r"any of block, sofa|the sofa"):
        margins(lay(scene), "behind", OBJECT)
    faced = with_front(scene, 1, -1.0, 0.0)
    got = margins(lay(faced), "behind", OBJECT)
    assert np.isfinite(got[:, 1]).all()
    assert np.isnan(got[:, [0, 2]]).all()
    up = dataclasses.replace(scene.objects[1].detection, front=tuple(scene.up))  # a front that faces up is none
    objects = scene.objects[0], dataclasses.replace(scene.objects[1], detection=up), scene.objects[2]
    assert np.isnan(margins(lay(dataclasses.replace(scene, objects=objects)), "facing")).all()


def test_an_order_has_no_object_to_look_from(ground: Ground) -> None:
    layout = lay(with_front(ground.scene((ANCHOR, Object(1.2, 0.0))), 0, -1.0, 0.0))
    for word in ("leftmost", "nearest"):
        with pytest.raises(FrameUndefinedError, match="order"):
            superlatives.key_of(word, layout, layout.viewpoint(OBJECT))


@pytest.mark.parametrize(
    ("label", "own"),
    [("chair", True), ("Toy_Chick", True), ("rubber duck", True), ("stove", False), ("car radio", False), ("", False)],
)
def test_the_last_word_of_a_label_says_whose_sides_it_has(label: str, own: bool) -> None:
    assert is_own_sided(label) is own


@pytest.mark.parametrize(
    ("ahead", "relation"), [("up", "behind"), ("down", "in front of"), ("left", "right of"), ("right", "left of")]
)
def test_straight_down_a_side_of_the_image_can_be_ahead(ground: Ground, ahead: str, relation: str) -> None:
    """The target is 0.2 up the image from the anchor; right is always clockwise of ahead."""
    scene = ground.scene((Object(0.2, 0.1), Object(0.0, 0.1)), pitch_deg=90.0)
    layout = lay(scene, dataclasses.replace(LIMITS, down_ahead=ahead))
    assert margins(layout, relation)[0, 1] == pytest.approx(0.2, **EXACT)


@pytest.mark.parametrize("pitch", [76, 90])
def test_straight_down_sides_and_orders_follow_the_images_x_axis(ground: Ground, pitch: float) -> None:
    anchor = Object(0.1, 0.3)
    for relation, target, expected in (("right of", (0.1, 0.5), 0.2), ("left of", (0.4, 0.1), 0.2),
                                       ("right of", (0.4, 0.3), 0.0)):  # fmt: skip
        found = ground.margin(relation, Object(*target), anchor, pitch_deg=pitch)
        assert found == pytest.approx(expected, abs=1e-6)
    layout = lay(ground.scene((Object(0.3, 0.1), Object(-0.3, -0.2), Object(0.0, 0.2)), pitch_deg=90.0))
    assert superlatives.key_of("leftmost", layout, layout.viewpoint(VIEWER)).value == pytest.approx([0.1, -0.2, 0.2])


@pytest.mark.parametrize(
    "relation", ["behind", "in front of", "at the front of", "at the back of", "on the other side of"]
)
def test_straight_down_nothing_is_ahead_unless_configured(ground: Ground, relation: str) -> None:
    for pitch in (80.0, 85.0):
        with pytest.raises(FrameUndefinedError, match=r"downwards(.|\n)*down_ahead"):
            ground.margin(relation, Object(0.2, 0.0), Object(0.0, 0.0), pitch_deg=pitch)
    near_it = ground.margin("behind", Object(0.45, 0.0), Object(0.25, 0.0), pitch_deg=74)
    assert near_it == pytest.approx(0.2, abs=1e-6), "at 74 degrees there is still a behind"


@pytest.mark.parametrize("roll_deg", [0.0, 45.0, 180.0])
def test_straight_down_right_is_the_images_x_axis_however_it_is_rolled(ground: Ground, roll_deg: float) -> None:
    roll, matrix = np.radians(roll_deg), np.eye(4)
    matrix[:3, :3] = rotation(np.array([0.0, 0.0, 1.0]), roll)
    scene = ground.scene((Object(0.2, 0.1), Object(0.0, 0.0)), pitch_deg=90.0)
    rolled = by_another_camera(scene, Transform(scene.frame.frame_id, "rolled", matrix))
    image = [float(o.box.centre[0] / o.box.centre[2]) for o in rolled.objects]
    got = margins(lay(rolled), "right of")[0, 1]
    assert np.sign(got) == np.sign(image[0] - image[1])
    assert got == pytest.approx(0.1 * np.cos(roll) - 0.2 * np.sin(roll), **EXACT)


def test_over_the_viewer_ahead_is_its_own_forward(ground: Ground) -> None:
    """An anchor 4 cm off the camera's foot has no direction of its own."""
    layout = lay(ground.scene((Object(0.0, 0.24), Object(0.0, 0.04)), pitch_deg=60.0))
    assert margins(layout, "right of")[0, 1] == pytest.approx(0.2, **EXACT)


NAMES = ("cup", "box", "can")
WORDS = ("left of", "right of", "behind", "in front of")
AMBIGUOUS, OK, LOW, UNSATISFIED = Status.AMBIGUOUS, Status.OK, Status.LOW_CONFIDENCE, Status.RELATION_UNSATISFIED


def placed(ground: Ground, **labelled: Sequence[tuple[float, float]]) -> Layout:
    return ground.layout([Object(*place, label=label) for label, places in labelled.items() for place in places])


def related(name: str, relation: str, *anchors: NounPhrase, negated: bool = False, **more: Any) -> NounPhrase:
    return NounPhrase(name, relations=(RelationClause(relation, anchors, negated=negated),), **more)


def decided(layout: Layout, phrase: NounPhrase) -> ResolvedChoice:
    return decide([SpatialQuery("", "find", phrase)], scorer_of(layout, eq))


def asked(layout: Layout, words: str) -> Any:
    scorer = scorer_of(layout)
    resolution = answer(decide(parse(words), scorer), scorer, words)
    assert (resolution.target is not None) == (resolution.status is OK)
    return resolution


SEEDS = [*range(4), *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(4, 25))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_chain_of_two_is_the_best_of_every_choice_of_three_different_objects(ground: Ground, seed: int) -> None:
    draw, rng = np.random.default_rng(seed), np.random.default_rng(seed)
    objects = []
    for _ in range(7):
        place = draw.uniform(0.5, 1.1), draw.uniform(-0.4, 0.4)
        objects.append(Object(*place, (0.05, 0.05, 0.08), label=str(draw.choice(NAMES))))
    layout, rows = ground.layout(objects), np.arange(7)
    outer, inner = (str(word) for word in rng.choice(WORDS, 2))
    t, a, b = (str(name) for name in rng.choice(NAMES, 3))
    pairs = Pairs(layout, layout.viewpoint(VIEWER), rows, rows)
    first, second = (clause_likelihood(*RELATIONS[relation](pairs)) for relation in (outer, inner))
    labels = [obj.label for obj in objects]
    best = np.zeros(len(layout))
    for i, j, k in itertools.permutations(range(len(layout)), 3):
        if (labels[i], labels[j], labels[k]) == (t, a, b):
            best[i] = max(best[i], first[i, j] * max(second[j, k], FLOOR))
    chain = related(t, outer, related(a, inner, NounPhrase(b), choice="any"), choice="any")  # without contrast
    weight = scorer_of(layout, eq).score_phrase(chain).weight
    # Chances below the floor, and anchors of negligible weight, are not told apart.
    assert np.abs(weight - best).max() <= NEGLIGIBLE
    clear = best > NEGLIGIBLE
    assert weight[clear] == pytest.approx(best[clear], abs=1e-9)


def test_an_object_at_both_ends_of_a_chain_is_not_meant(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.8, -0.2)], box=[(0.8, 0.0)])
    phrase = related("cup", "left of", related("box", "right of", NounPhrase("cup")))
    assert scorer_of(layout, eq).score_phrase(phrase).weight.max() <= FLOOR
    assert decided(layout, phrase).status is UNSATISFIED


def test_many_anchors_do_not_outvote_one(ground: Ground) -> None:
    boxes = [(0.8, -0.15), (0.95, -0.15), (0.65, -0.15), (0.8, 0.35)]
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.2)], box=boxes)
    verdict = decided(layout, related("cup", "left of", NounPhrase("box")))
    assert verdict.status is AMBIGUOUS
    assert verdict.probability[0] == pytest.approx(verdict.probability[1], abs=0.02)


def test_not_behind_the_box_is_behind_no_box_that_may_be_meant(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.9, -0.2), (0.6, 0.0)], box=[(0.7, -0.2), (0.7, 0.2)])
    verdict = decided(layout, related("cup", "behind", NounPhrase("box"), negated=True))
    assert (verdict.status, verdict.chosen) == (OK, 1)


def test_other_than_is_whatever_is_left(ground: Ground) -> None:
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.0)])
    verdict = decided(layout, related("cup", "other than", NounPhrase("cup", superlative="farthest")))
    assert (verdict.status, verdict.chosen) == (OK, 1)
    assert decided(layout, related("cup", "other than", NounPhrase("cup"))).status is AMBIGUOUS


def test_a_label_may_say_the_place_itself(ground: Ground) -> None:
    """The lower one is labelled as the top drawer of another cabinet; a top hat beside it says nothing of drawers."""
    objects = [Object(0.8, -0.2, label="top drawer"), Object(0.8, 0.2, label="bottom drawer", base=0.3),
               Object(1.0, 0.0, label="top hat")]  # fmt: skip
    scorer = scorer_of(ground.layout(objects), lambda name, label: label.split()[-1] == name)
    verdict = decide([SpatialQuery("", "find", NounPhrase("drawer", superlative="highest"))], scorer)
    assert (verdict.status, verdict.chosen) == (OK, 0)


@pytest.mark.parametrize(
    ("phrase", "status", "meant"),
    [
        (NounPhrase("cup", count=2), OK, {0, 1}),
        (NounPhrase("cup", count=-1), OK, {0, 1}),
        (NounPhrase("cup", count=3), UNSATISFIED, {0, 1}),
        (NounPhrase("box", count=2), AMBIGUOUS, set()),
        (NounPhrase("box", count=-1), OK, {2, 3, 4}),
        (NounPhrase("box", count=2, superlative="farthest"), OK, {2, 4}),
        (NounPhrase("box", choice="any"), OK, None),
        (NounPhrase("box"), AMBIGUOUS, set()),
        (related("box", "right of", NounPhrase("can"), count=-1), OK, {3, 4}),
        (NounPhrase("can", count=-1), OK, {5}),
    ],
)
def test_several_objects(ground: Ground, phrase: NounPhrase, status: Status, meant: set[int] | None) -> None:
    boxes = [(0.8, -0.25), (0.8, 0.05), (0.8, 0.3)]
    layout = placed(ground, cup=[(0.6, -0.3), (0.6, 0.3)], box=boxes, can=[(1.0, -0.1)])
    verdict = decided(layout, phrase)
    assert verdict.status is status
    assert meant is None or set(verdict.several) == meant
    distance = np.linalg.norm(layout.centre[list(verdict.several)], axis=1)
    assert (np.diff(distance) >= 0).all()
    if phrase in (NounPhrase("cup", count=2), NounPhrase("box", choice="any")):
        assert verdict.sure == pytest.approx(1.0)
        assert verdict.probability.max() < 0.6


@pytest.mark.parametrize(
    ("relation", "boxes", "meant"),
    [("left of", -1, {0}), ("left of", 2, {0}), ("near", -1, {0, 1}), ("near", 2, set()), ("left of", 3, set())],
)
def test_several_anchors(ground: Ground, relation: str, boxes: int, meant: set[int]) -> None:
    layout = placed(ground, cup=[(0.8, -0.3), (0.8, 0.0)], box=[(0.8, -0.2), (0.8, 0.1)])
    verdict = decided(layout, related("cup", relation, NounPhrase("box", count=boxes), count=-1))
    assert set(verdict.several) == meant
    assert (verdict.status is OK) == bool(meant)


@pytest.mark.parametrize(
    ("words", "status"),
    [("the cups left of the wooden box", LOW), ("any cup left of the wooden box", LOW),
     ("the cups among the wooden boxes", None), ("the cup right of the boxes behind the cans", UNSATISFIED)],
)  # fmt: skip
def test_nothing_is_related_to_objects_that_may_not_be_meant(ground: Ground, words: str, status: Status | None) -> None:
    """Nobody can tell that a box is wooden, and no box is behind a can."""
    cups = [(0.8, -0.5), (0.8, -0.4), (0.8, 0.5)]
    layout = placed(ground, cup=cups, box=[(0.8, 0.0), (0.8, 0.2)], can=[(1.2, 0.0)])
    verdict = decide(parse(words), scorer_of(layout, eq))
    assert verdict.status is not OK
    assert status in (None, verdict.status)


def test_a_frame_that_means_other_objects_of_several_is_asked_about(ground: Ground) -> None:
    cups = [Object(*place, label="cup") for place in ((0.8, -0.3), (0.85, 0.3), (0.8, 0.35))]
    robot = ground.looking_from(1.6, 0.0, 180.0)
    layout = ground.layout([Object(0.8, 0.0, label="box"), *cups], base_T_camera=robot)
    for second, status, frames in (("robot", AMBIGUOUS, (VIEWER, ROBOT)), ("speaker", OK, ())):  # nobody speaks here
        said = dataclasses.replace(layout, relation=dataclasses.replace(layout.relation, second_frame=second))
        verdict = decided(said, related("cup", "left of", NounPhrase("box"), count=-1))
        assert (verdict.status, verdict.frames) == (status, frames)


@pytest.mark.parametrize(("scene", "words", "status"), tables(__file__)["asked by nobody"])
def test_what_nobody_should_ask_ends_in_a_typed_answer(ground: Ground, scene: Any, words: str, status: str) -> None:
    found = asked(placed(ground, **scene), words)
    assert found.status is Status(status)
    if found.status is OK:
        assert found.target.id == "t0"
    with pytest.raises(NotUnderstoodError, match="itself"):
        parse("the cup left of itself")


@pytest.mark.parametrize("size", [(0.06, 0.06, 0.0005), (1e-3, 1e-3, 1e-3), (3.0, 3.0, 0.02), (0.01, 2.0, 0.5)])
def test_flat_tiny_and_giant_objects_are_measured(ground: Ground, size: tuple[float, float, float]) -> None:
    layout = ground.layout([Object(0.8, 0.0, size, label="odd"), Object(0.8, -0.2, label="cup"),
                            Object(0.8, 0.2, label="cup"), Object(2.9, 0.0, label="box")])  # fmt: skip
    for words in ("the cup left of the odd", "the odd in front of the box", "the cup on the odd", "the largest thing",
                  "the cup at the edge of the odd", "the odd between the two cups"):  # fmt: skip
        found = asked(layout, words)
        assert all(c.margin_m is None or np.isfinite(c.margin_m) for k in found.candidates for c in k.clauses), words
    assert asked(layout, "the cup left of the odd").candidates[0].id == "t1"


@pytest.mark.parametrize("number", [150, pytest.param(500, marks=pytest.mark.slow)])
def test_crowds_and_ten_nested_clauses(ground: Ground, number: int) -> None:
    places = np.random.default_rng(5).uniform((0.5, -2.0), (3.0, 2.0), (number, 2))
    layout = ground.layout([Object(*place, label=NAMES[k % 3]) for k, place in enumerate(places.tolist())])
    for words in ("the cup", "the cup left of the box behind the can", "the cup between the box and the can",
                  "the tallest cup near a box", "the cups among the boxes", "the third cup from the left"):  # fmt: skip
        found = asked(layout, words)
        assert found.status in (AMBIGUOUS, OK, LOW), found.message
    layout = ground.layout([Object(0.5 + 0.1 * k, 0.05 * (-1) ** k, label=NAMES[k % 3]) for k in range(15)])
    relations = (*WORDS, "near")
    nested = "".join(f" {relations[k % 5]} the {('box', 'can', 'cup')[k % 3]}" for k in range(10))
    assert asked(layout, "the cup" + nested).status in Status
