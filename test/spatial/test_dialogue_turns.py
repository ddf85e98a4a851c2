# SPDX-License-Identifier: Apache-2.0
"""Dialogues on scenes: what yes, no and own words lead to; whole sentences, decided by the scene alone."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from rendered_tables import Table, meant, without_depth
from tables import sections

from benchmarks.scenes import random_tabletop
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.tabletop import Body, Rendering, noisy
from spatial_vlm_ros.spatial.dialogue_state import Dialogue, remember, row_of
from spatial_vlm_ros.spatial.dialogue_turns import MOST_SAID
from spatial_vlm_ros.types import Detection, FrameOfReference, RgbdFrame, Status, Transform, UpSource

TWO = "can a -0.15 0; can b 0.15 0; cup cup 0 0.25"
FIVE = "can c0 -0.24 0; can c1 -0.12 0; can c2 0 0; can c3 0.12 0; can c4 0.24 0"
DOUBTED = "cup cup 0 0; can red 0.16 0.08 red; can blue -0.2 -0.2 blue"
"""Of the red can it is not clear that it is behind the cup; the blue one is not."""


class Talk:
    def __init__(self, seen: Rendering, detections: Sequence[Detection] | None = None) -> None:
        self.frame, self.detections = seen.frame, tuple(detections or seen.detections)
        self.answered: Answered | None = None

    dialogue = property(lambda self: self.answered and self.answered.dialogue)
    resolution = property(lambda self: self.answered.resolution)

    def say(self, *words: str) -> str:
        for each in words:
            self.answered = Resolver().look_at(self.frame, self.detections).ask(each, follows=self.dialogue or ())
        answer = self.resolution
        if answer.target is not None:
            return ",".join(sorted(t.id for t in answer.targets) or [answer.target.id])
        return f"{answer.status.value}: {answer.question}"

    def see(self, seen: Rendering, detections: Sequence[Detection] | None = None) -> None:
        self.frame, self.detections = seen.frame, tuple(detections or seen.detections)


@pytest.fixture(scope="module")
def two(tabletop: Table) -> Rendering:
    return tabletop.scene(TWO)


def read() -> list[tuple[str, list[tuple[str, str]]]]:
    found = []
    for bodies, lines in sections(__file__, "dialogues").items():
        for line in lines:
            turns = [turn.partition(" -> ") for turn in line.split(" | ")]
            said = [[(words, led) for words in each.split("/")] for each, _, led in turns]
            found += [(bodies, list(dialogue)) for dialogue in itertools.product(*said)]
    return found


def led_to(told: Talk, got: str, expected: str) -> bool:
    expected, _, message = expected.rstrip("]").partition(" [")
    if expected.endswith(" placed"):
        return got == expected.split()[0] and told.resolution.place is not None
    fits = got.startswith(expected[:-1]) if expected.endswith("…") else got == expected
    return fits and message in told.resolution.message


@pytest.mark.parametrize(
    ("bodies", "turns"), [pytest.param(*one, id=" | ".join(w for w, _ in one[1])) for one in read()]
)
def test_what_words_lead_to(tabletop: Table, bodies: str, turns: list[tuple[str, str]]) -> None:
    told = Talk(tabletop.scene(bodies))
    for words, led in turns:
        before = told.answered
        got = told.say(words)
        if led == "same":
            assert told.resolution.question == before.resolution.question
            assert told.resolution.answers == before.resolution.answers
            assert told.resolution.dialogue_id == before.dialogue.id
        elif led:
            assert any(led_to(told, got, each) for each in led.split(" or else ")), (words, got)


def test_a_yes_no_question_offers_yes_and_no(tabletop: Table) -> None:
    told = Talk(tabletop.scene(DOUBTED))
    told.say("grab the can behind the cup")
    assert [(a.text, a.ids) for a in told.resolution.answers] == [("yes", ("red",)), ("no", ())]
    assert told.say("yes") == "red"
    assert told.resolution.confidence >= 0.9


def test_a_number_that_may_count_otherwise_is_confirmed(tabletop: Table) -> None:
    told = Talk(tabletop.scene("can b 0.2 0 blue; can a -0.2 0 red"))
    question = told.say("grab the can")
    first = "blue" if question.index("blue") < question.index("red") else "red"
    assert told.say("the first one") == f"LOW_CONFIDENCE: Do you mean the {first} can?"
    assert told.say("yes") == {"blue": "b", "red": "a"}[first]


def test_what_was_denied_does_not_come_back_and_there_are_as_many_turns_as_candidates(tabletop: Table) -> None:
    told = Talk(tabletop.scene(FIVE))
    given = [told.say("grab the can", "the first one")]
    for _ in range(20):
        led = told.say("no, the other one")
        while told.resolution.target is None and told.resolution.answers:
            led = told.say(told.resolution.answers[0].text)
        if told.resolution.target is None or led in given:
            break
        given.append(led)
    assert sorted(given) == ["c0", "c1", "c2", "c3", "c4"]
    said = "grab the can", "the second one from the left", "point at the can on the right of it"
    assert Talk(tabletop.scene(FIVE)).say(*said) != "c1"


def renamed(detections: Sequence[Detection]) -> list[Detection]:
    return [dataclasses.replace(d, id=f"n{n}") for n, d in enumerate(reversed(detections))]


@pytest.mark.parametrize("words", ["the left one", "yes", "no, the other one"])
def test_an_object_is_known_again_from_elsewhere_with_other_ids(tabletop: Table, two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can", *(() if words == "the left one" else ("the left one",)))
    later = tabletop.scene(TWO, eye=(0.25, -0.95, 0.6), stamp_ns=10**9)  # from another side
    told.see(later, renamed(later.detections))
    body = {f"n{n}": d.id for n, d in enumerate(reversed(later.detections))}
    assert body[told.say(words)] == ("b" if "other" in words else "a")


@pytest.mark.parametrize("words", ["yes", "no, the other one", "the left one"])
def test_what_has_moved_meanwhile_is_never_taken_for_granted(tabletop: Table, two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can", *(() if words == "the left one" else ("the left one",)))
    later = tabletop.scene("can a 0.3 0.1; can b 0.15 0; cup cup 0 0.25", stamp_ns=10**9)
    told.see(later, renamed(later.detections))
    told.say(words)
    assert told.resolution.target is None
    assert told.resolution.question is not None


def test_a_question_about_what_was_shown_needs_it_where_it_was(tabletop: Table, two: Rendering) -> None:
    told = Talk(two)
    assert told.say("grab the can", "the left one") == "a"
    assert told.say("is it left of the cup?").startswith("ANSWERED")
    assert told.say("how far is it from the cup?").startswith("ANSWERED")
    assert [obj.id for obj in told.resolution.answer.objects] == ["a", "cup"]
    assert told.say("pick it up") == "a"
    told.see(tabletop.scene("can b 0.15 0; cup cup 0 0.25", stamp_ns=10**9))
    assert told.say("how far is it from the cup?").startswith("NOT_UNDERSTOOD")
    assert "may not be where it was" in told.resolution.message
    assert told.resolution.answer is None


def test_words_alone_have_the_same_answers_as_the_kept_dialogue(tabletop: Table) -> None:
    five = tabletop.scene(FIVE)
    observed = Resolver().look_at(five.frame, five.detections)
    words = ["grab the can", "yes", "the second one", "no, the other one", "neither", "the last one", "no"]
    kept: Dialogue | None = None
    for n, each in enumerate(words):
        answered = observed.ask(each, follows=kept or ())
        again = observed.ask(each, follows=tuple(words[:n]))
        assert again.resolution == answered.resolution
        assert again.dialogue == answered.dialogue
        kept = answered.dialogue
        assert kept is not None


def test_what_stands_too_close_to_tell_is_not_known_again(tabletop: Table) -> None:
    scene = tabletop.lift(tabletop.scene("can a -0.15 0; cup c 0.15 0"))
    known = remember(scene.objects[0], scene)
    assert row_of(known, scene) == 0
    later = dataclasses.replace(known, stamp_ns=1)
    assert row_of(later, scene) == 0
    moved = dataclasses.replace(later, position=(0.0, 0.0, 9.0))
    assert row_of(moved, scene) is None
    assert row_of(dataclasses.replace(later, frame_id="another frame"), scene) is None
    assert row_of(dataclasses.replace(later, label="bottle"), scene) is None


def test_a_dialogue_is_bounded(two: Rendering) -> None:
    told = Talk(two)
    told.say("grab the can")
    words = ["the left one", "no, the other one", "the one near the cup", "no", "the red one"]
    for n in range(4 * MOST_SAID):
        told.say(words[n % len(words)])
        assert len(told.dialogue.said) <= MOST_SAID
        assert len(told.dialogue.queries) <= 64
        assert len(told.dialogue.denied) <= 3
        if told.resolution.status is Status.INVALID_INPUT:
            break
    assert "Send the whole instruction" in told.resolution.message


@pytest.mark.parametrize(
    "words", ["x" * 5000, "the \x1b[2J one", 7, None, "no " * 300, "not " * 200 + "the red one", "\ud800"]
)
def test_hostile_answers_are_refused_and_lose_nothing(two: Rendering, words: str) -> None:
    told = Talk(two)
    told.say("grab the can")
    led = told.say(words)
    assert led.split(":")[0] in ("INVALID_INPUT", "NOT_UNDERSTOOD", "NOT_FOUND", "AMBIGUOUS")
    assert told.say("the left one").split(":")[0] in ("a", "LOW_CONFIDENCE", "NOT_UNDERSTOOD")


WORDS = (
    "no yes not the other one ones red blue left right that is wrong it a first second last both all neither none of "
    "them put on tray cup can cans , . ? grab behind next to and but or any either 2 1 from my side yours never mind "
    "please ok different which what I mean don't isn't bigger middle it's in front take give me there only instead "
    "except than"
)
FIRST = "grab the can/grab the can behind the cup/grab the two cans/grab the cupp/any can/take the red can"


@pytest.mark.parametrize("dialogues", [30, pytest.param(2000, marks=pytest.mark.slow)])
def test_no_words_end_in_an_untyped_error_or_lose_the_dialogue(tabletop: Table, dialogues: int) -> None:
    rng = np.random.default_rng(21)
    observed = Resolver().look_at(tabletop.scene(DOUBTED).frame, tabletop.scene(DOUBTED).detections)
    for _ in range(dialogues):
        before: Dialogue | None = None
        said = [str(rng.choice(FIRST.split("/")))]
        said += [" ".join(rng.choice(WORDS.split(), int(rng.integers(1, 7)))) for _ in range(int(rng.integers(1, 5)))]
        for words in said:
            answered = observed.ask(words, follows=before or ())
            assert answered.resolution.status is not Status.INTERNAL_ERROR, said
            assert before is None or answered.dialogue is not None, said
            before = answered.dialogue or before


ROBOT, VIEWER = FrameOfReference.ROBOT, FrameOfReference.VIEWER
DIRECTIONS = {
    "the can to the left of the cup": "left",
    "the can to the right of the cup": "right",
    "the block behind the cup": "back",
    "the block in front of the cup": "front",
}
SEEN_FROM_ACROSS = dict(zip(DIRECTIONS, ("right", "left", "front", "back"), strict=True))


def around_a_cup(tabletop: Table) -> tuple[Body, ...]:
    cans = tabletop.can("left", -0.2, 0.0), tabletop.can("right", 0.2, 0.0)
    blocks = tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13)), tabletop.block("front", 0.0, -0.2)
    return tabletop.cup("cup", 0, 0), *cans, *blocks


@pytest.fixture(scope="module")
def around(tabletop: Table) -> Rendering:
    return tabletop.see(*around_a_cup(tabletop))


def test_answers_name_the_anchors_and_margins_that_decided(tabletop: Table) -> None:
    table = tabletop.block("table", 0.0, 0.0, (0.3, 0.25, 0.04), label="table")
    for seen, words, id_, anchors in (
        (tabletop.scene("can a 0 0; block:box b 0.2 0"), "the can on the table", "a", ("support",)),
        (tabletop.scene("can up 0 0 0.04; can beside 0.35 0", table), "the can on the table", "up", ("table",)),
        (tabletop.scene("cup c0 -0.2 0; cup c1 0.2 0; can k 0.22 0.22"), "the can behind the cup", "k", ("c1",)),
    ):
        answer = tabletop.ask(seen, words)
        assert (meant(answer), answer.candidates[0].clauses[0].anchor_ids) == (id_, anchors)
    assert tabletop.ask(tabletop.scene("can a 0 0.35", eye=(0.0, -0.9, 0.5)), "the can on the floor").target is None
    for scale in (0.8, 1.6):
        seen = tabletop.scene("can a -0.1 0; can b 0.1 0", eye=(0.0, -0.9 * scale, 0.6 * scale))
        clause = tabletop.ask(seen, "the leftmost can").candidates[0].clauses[0]
        assert clause.margin_m == pytest.approx(0.2, rel=0.05)


@pytest.mark.parametrize("boxes", [False, True], ids=["masks", "boxes"])
@pytest.mark.parametrize("noise", [False, True], ids=["exact", "noisy"])
def test_four_directions_around_a_cup(tabletop: Table, around: Rendering, boxes: bool, noise: bool) -> None:
    frame = noisy(around.frame, np.random.default_rng(0)) if noise else around.frame
    given = tabletop.boxes_only(around.detections) if boxes else around.detections
    assert {words: tabletop.meant(around, words, given, frame) for words in DIRECTIONS} == DIRECTIONS


@pytest.mark.parametrize(("roll", "source"), [(-30, "pose"), (30, "imu"), (-30, "table"), (10, "table")])
def test_a_rolled_camera_gives_the_same_answers(tabletop: Table, roll: float, source: str) -> None:
    seen = tabletop.see(*around_a_cup(tabletop), roll_deg=roll)
    up = seen.frame.base_T_camera.rotation[2] if source == "imu" else None
    frame = seen.frame if source == "pose" else tabletop.without_pose(seen.frame, up=up)
    assert {words: tabletop.meant(seen, words, frame=frame) for words in DIRECTIONS} == DIRECTIONS


@pytest.mark.parametrize("turn_deg", [35, 180, -120])
def test_turning_world_and_camera_leaves_the_answers(tabletop: Table, around: Rendering, turn_deg: float) -> None:
    t = np.radians(turn_deg)
    moved = np.array([[np.cos(t), -np.sin(t), 0, 1.5], [np.sin(t), np.cos(t), 0, -0.7], [0, 0, 1, 0.4], [0, 0, 0, 1]])
    pose = Transform("map", around.frame.frame_id, moved @ around.frame.base_T_camera.matrix)
    frame = dataclasses.replace(around.frame, base_T_camera=pose)
    for words, id_ in DIRECTIONS.items():
        here, there = tabletop.ask(around, words), tabletop.ask(around, words, frame=frame)
        assert (meant(there), there.target.pose.frame_id) == (id_, "map")
        expected = moved[:3, :3] @ here.target.pose.position + moved[:3, 3]
        np.testing.assert_allclose(there.target.pose.position, expected, atol=2e-5)


def test_the_same_input_gives_the_same_resolution(tabletop: Table) -> None:
    seen = tabletop.see(*random_tabletop(np.random.default_rng(0), 6).bodies, stamp_ns=17)
    frames = [noisy(seen.frame, np.random.default_rng(0)) for _ in range(2)]  # each is lifted anew
    for detections in (seen.detections, tabletop.boxes_only(seen.detections)):
        for words in ("the leftmost object", "the thing behind the box", "the banana"):
            first, again = (tabletop.ask(seen, words, detections, frame) for frame in frames)
            assert first == again
            assert first.stamp_ns == 17


@pytest.fixture(scope="module")
def from_across(around: Rendering) -> RgbdFrame:
    base_T_world = np.array([[0, -1, 0, 0.9], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], np.float64)
    pose = Transform("base_link", around.frame.frame_id, base_T_world @ around.frame.base_T_camera.matrix)
    return dataclasses.replace(around.frame, base_T_camera=pose)


def test_from_across_the_table_sides_are_others(tabletop: Table, around: Rendering, from_across: RgbdFrame) -> None:
    by_config = {"config": ResolverConfig(frame_of_reference=ROBOT)}
    for request, frame, expected in (({}, VIEWER, DIRECTIONS), ({"frame_of_reference": ROBOT}, ROBOT, SEEN_FROM_ACROSS),
                                     (by_config, ROBOT, SEEN_FROM_ACROSS)):  # fmt: skip
        for words, id_ in expected.items():
            answer = tabletop.ask(around, words, frame=from_across, **request)
            assert (meant(answer), answer.frame_of_reference) == (id_, frame), words


@pytest.mark.parametrize(
    ("words", "request_", "config", "id_", "frame"),
    [
        ("the can to the left of the cup", VIEWER, ROBOT, "left", VIEWER),
        ("the can to your left of the cup", VIEWER, VIEWER, "right", ROBOT),
        ("the can to the left of the cup as seen from the camera", None, ROBOT, "left", VIEWER),
        ("the leftmost can", None, VIEWER, "left", VIEWER),
        ("the leftmost can", ROBOT, VIEWER, "right", ROBOT),
        ("the nearest block", ROBOT, VIEWER, "back", ROBOT),
    ],
)
def test_words_come_before_the_request_and_the_request_before_the_configuration(
    tabletop: Table, around: Rendering, from_across: RgbdFrame, words: str, request_: FrameOfReference | None,
    config: FrameOfReference, id_: str, frame: FrameOfReference,
) -> None:  # fmt: skip
    answer = tabletop.ask(around, words, frame=from_across, config=ResolverConfig(frame_of_reference=config),
                          frame_of_reference=request_)  # fmt: skip
    assert (meant(answer), answer.frame_of_reference) == (id_, frame)


def test_an_up_against_which_the_table_faces_down_is_refused(tabletop: Table, around: Rendering) -> None:
    assert tabletop.ask(around, "the cup").up_from is UpSource.TF
    assert tabletop.ask(around, "the cup", frame=tabletop.without_pose(around.frame)).up_from is UpSource.SUPPORT_PLANE
    gravity = -around.frame.base_T_camera.rotation[2]
    answer = tabletop.ask(around, "the cup", frame=tabletop.without_pose(around.frame, up=gravity))
    assert answer.status is Status.FRAME_INCONSISTENT
    assert "off level by the IMU" in answer.message


def test_poses_are_those_of_the_world_or_without_a_base_of_the_camera(tabletop: Table, around: Rendering) -> None:
    bodies = {body.id: body for body in around_a_cup(tabletop)}
    for words, id_ in DIRECTIONS.items():
        target, truth = tabletop.ask(around, words).target, bodies[id_]
        assert target.pose.frame_id == "world"
        np.testing.assert_allclose(target.pose.position, truth.centre, atol=0.01)
        np.testing.assert_allclose(target.size, truth.size, atol=0.015)
        assert target.surface_position[1] < target.pose.position[1], "the surface seen is nearer the camera"
        assert np.linalg.norm(target.pose.orientation) == pytest.approx(1.0, abs=1e-5)
    bare = tabletop.without_pose(around.frame)
    target = tabletop.ask(around, "the can to the right of the cup", frame=bare).target
    assert target.pose.frame_id == around.frame.frame_id
    world = around.frame.base_T_camera.apply(np.array(target.pose.position))
    np.testing.assert_allclose(world, (0.2, 0.0, 0.05), atol=0.01)


def test_covariances_are_symmetric_positive_and_turned_with_the_base(tabletop: Table, around: Rendering) -> None:
    words, turn = "the can to the right of the cup", around.frame.base_T_camera.rotation
    bare = tabletop.without_pose(around.frame, up=turn[2])
    base, own = (np.reshape(tabletop.ask(around, words, frame=f).target.covariance, (6, 6)) for f in (None, bare))
    for covariance in (base, own):
        np.testing.assert_allclose(covariance, covariance.T, atol=1e-11)
        assert np.linalg.eigvalsh(covariance).min() > 0
    R = np.kron(np.eye(2), turn)
    np.testing.assert_allclose(base, R @ own @ R.T, atol=1e-9)
    assert base[5, 5] > 3.0, "a can's heading about the base's z is unknown"
    assert base[3, 3] < 0.01


@pytest.mark.parametrize("yaw", [0.6, -1.2])
def test_a_grasp_closes_on_the_shorter_side_and_on_a_round_object_from_any(tabletop: Table, yaw: float) -> None:
    body = tabletop.block("a", 0.0, 0.0, (0.16, 0.05, 0.06), label="box", yaw=yaw)
    grasp = tabletop.ask(tabletop.see(body, eye=tabletop.pitched(50)), "the box").target.grasp
    assert grasp.width == pytest.approx(0.05, abs=0.012)
    closing = np.array([np.cos(grasp.yaw), np.sin(grasp.yaw)])
    assert abs(closing @ (-np.sin(yaw), np.cos(yaw))) > np.cos(np.radians(6))
    can = tabletop.ask(tabletop.scene("can a 0 0"), "the can").target
    assert (can.yaw_known, can.grasp.yaw) == (False, None)
    assert can.grasp.width == pytest.approx(0.07, abs=0.012)


def test_an_unmeasured_object_never_makes_an_order_sure(tabletop: Table) -> None:
    seen = tabletop.scene("cup a -0.15 0; cup b 0.15 0; can glass 0 0.1", eye=(0.0, -0.01, 1.0))
    for words, right in (("the rightmost cup", "b"), ("the second cup from the left", "b"), ("the leftmost cup", "a")):
        answer = tabletop.ask(seen, words, frame=without_depth(seen, "glass"))
        assert answer.confidence == answer.confidence, "no NaN"
        assert answer.target is None or answer.target.id == right
