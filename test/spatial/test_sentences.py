# SPDX-License-Identifier: Apache-2.0
"""Sentences and questions on rendered tables (sentences.txt), and what is never taken."""

import dataclasses
import itertools
import re
from typing import Any

import numpy as np
import pytest
from rendered_tables import ABOVE, LEVEL, STEEP, Table, meant, spot, spots, without_attributes, without_depth
from tables import sections

from spatial_vlm_ros.errors import NotExecutableError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.manipulation.pick_sequence import QUESTION
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.output.json_schema import resolution_from_json, resolution_json
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.tabletop import Body, Box, Rendering
from spatial_vlm_ros.spatial.support_check import check_carried_out
from spatial_vlm_ros.types import Detection, Resolution, SpaceAnswer, Status

SENTENCES = {
    scene: dict(line.split(" -> ", 1) for line in lines) for scene, lines in sections(__file__, "sentences").items()
}


def assert_refused(answer: Resolution, named: str) -> None:
    assert answer.code == answer.status.code
    assert answer.message
    assert named in answer.message
    assert (answer.target, answer.place) == (None, None)
    assert (answer.question is None) == (answer.dialogue_id is None)


def assert_answered(answer: Resolution) -> None:
    assert (answer.code, answer.target, answer.place, answer.message) == (1, None, None, answer.answer.words)
    value, probability = answer.answer.value, answer.answer.probability
    if value in ("yes", "no"):
        assert probability >= 0.85
        assert answer.answer.words.startswith(value.capitalize())
    elif value == "unclear":
        assert probability < 0.85
        assert value in answer.answer.words
    elif answer.answer.unit == "objects":
        assert (answer.answer.interval, len(ids(answer.answer))) == ((value, value), value)


def ids(answer: SpaceAnswer, *roles: str) -> set[str]:
    return {obj.id for obj in answer.objects if obj.role in (roles or ("subject", "fits"))}


VIEWS: dict[str, dict[str, Any]] = {"steep": STEEP, "level": LEVEL, "above": ABOVE}
BOUND = re.compile(r"([xyz])([<>=])(-?[\d.]+)(?:~([\d.]+))?$")


def assert_place(answer: Resolution, said: str) -> None:
    """The best place, or after "all" every place, keeps bounds; z=0.2~0.01 is within so much; by=, on= its anchor."""
    every = said.startswith("all ")
    found, places = (spots(answer), answer.places) if every else (spot(answer)[None], answer.places[:1])
    for word in said.removeprefix("all ").split():
        bound = BOUND.match(word)
        if bound is None:
            name, _, id_ = word.partition("=")
            anchors = {place.anchor_id if name == "by" else place.carrier_id for place in places}
            assert anchors == {id_}, said
            continue
        along, value = found[:, "xyz".index(bound[1])], float(bound[3])
        kept = {"<": along < value, ">": along > value, "=": abs(along - value) <= float(bound[4] or 0.01)}[bound[2]]
        assert kept.all(), (said, found)


@pytest.mark.parametrize("scene", SENTENCES, ids=lambda scene: scene.replace("|", "")[:40])
def test_sentences_mean(tabletop: Table, scene: str) -> None:
    bodies, _, options = scene.partition("|")
    named = dict(word.split("=") for word in options.split() if "=" in word)
    parts, blind, boxed = (named.pop(name, "") for name in ("one", "blind", "boxed"))
    view: dict[str, Any] = dict(VIEWS.get(named.pop("view", ""), {}))
    view |= {name: tuple(map(float, value.split(","))) for name, value in named.items()}
    if "pitch" in view:
        view["eye"] = tabletop.pitched(*view.pop("pitch"))
    seen = tabletop.scene(bodies, **view)
    whole = seen.detections
    if parts:
        id_, *of = parts.split(",")
        whole = tabletop.as_one(seen, id_, id_, *(part for part in of if part in seen.masks))
    whole = tuple(tabletop.boxes_only([d])[0] if d.id == boxed else d for d in whole)
    given = [] if "only" in options else [whole]
    given += [tabletop.boxes_only(whole)] if "boxes" in options.split() else []
    given += [without_attributes(whole)] if "plain" in options else []
    frame = tabletop.without_pose(seen.frame) if "no pose" in options else seen.frame
    frame = without_depth(seen, *blind.split(",")) if blind else frame
    for detections in given:
        for words, expected in SENTENCES[scene].items():
            answer = tabletop.ask(seen, words, detections, frame)
            means, _, message = expected.partition(": ")
            means, _, place = means.partition(" @ ")
            if means == "nothing":
                assert answer.target is None, words
            else:
                assert meant(answer) == means, (words, answer.message)
            if place == "nowhere":
                assert answer.place is None
            elif place and answer.answer is not None:
                assert ids(answer.answer) == set(place.split())
                assert {obj.pose.frame_id for obj in answer.answer.objects} <= {answer.answer.frame_id}
            elif place:
                assert_place(answer, place)
            if answer.answer is not None:
                assert_answered(answer)
            elif answer.target is None:
                assert_refused(answer, message)


def said(answer: Resolution) -> SpaceAnswer:
    assert answer.status is Status.ANSWERED, answer.message
    assert (answer.code, answer.target, answer.place, answer.targets, answer.places) == (1, None, None, (), ())
    assert answer.message == answer.answer.words
    return answer.answer


@pytest.fixture(scope="module")
def table(tabletop: Table) -> Rendering:
    back = tabletop.block("back", 0.0, 0.25, (0.05, 0.05, 0.13))
    return tabletop.scene("cup cup 0 0; can left -0.2 0; can right 0.2 0", back, tabletop.block("front", 0.0, -0.2))


@pytest.mark.parametrize(
    ("words", "metres"),
    [
        ("how far is the cup from the can?", 0.325),
        ("how far away is the cup?", 1.327),
        ("how tall is the cup?", 0.1),
        ("how far is the cup from the edge of the table?", 0.11),
        ("how far is the cup from the left edge?", 0.51),
        ("how far is the cup from the back edge?", 0.16),
    ],
)
def test_a_length_is_true_and_within_its_interval(tabletop: Table, words: str, metres: float) -> None:
    """A cup of 8 cm in diameter and a can of 7 cm, with 0.4 m between their middles, on a table of 0.7 by 0.5 m."""
    bodies = tabletop.cup("cup", 0.2, 0.05), tabletop.can("can", -0.2, 0.05)
    answer = said(tabletop.ask(tabletop.see(*bodies, table_size=(0.7, 0.5), eye=(0.0, -1.1, 0.8)), words))
    assert (answer.unit, answer.lengths[0].value) == ("m", answer.value)
    assert answer.value == pytest.approx(metres, abs=0.01)
    assert 0 <= answer.interval[0] <= metres <= answer.interval[1]
    assert answer.segment is None or np.linalg.norm(np.subtract(*answer.segment)) == pytest.approx(metres, abs=0.01)


def test_a_distance_is_the_same_either_way_and_along_a_side(tabletop: Table, table: Rendering) -> None:
    for one, other in itertools.combinations(("the cup", "the left can", "the farthest block"), 2):
        there = said(tabletop.ask(table, f"how far is {one} from {other}?"))
        back = said(tabletop.ask(table, f"what is the distance between {other} and {one}?"))
        assert there.value == pytest.approx(back.value, abs=1e-6)
        assert there.interval == pytest.approx(back.interval, abs=1e-6)
    along = said(tabletop.ask(table, "how far left of the cup is the left can?"))
    straight = said(tabletop.ask(table, "how far is the left can from the cup?"))
    assert along.value == pytest.approx(straight.value, abs=0.01)


@pytest.mark.parametrize(
    "words",
    ["is the can left of the cup?", "how far is the cup from the can?", "is the cup left of the can?",
     "which is taller, the cup or the can?"],
)  # fmt: skip
def test_which_object_is_asked_back_and_the_answer_goes_on(tabletop: Table, table: Rendering, words: str) -> None:
    asked = tabletop.ask(table, words)
    assert asked.status is Status.AMBIGUOUS
    assert asked.question
    assert {id_ for offered in asked.answers for id_ in offered.ids} == {"left", "right"}
    for offered in asked.answers:
        answer = said(Resolver().resolve(table.frame, offered.text, table.detections, follows=[words]))
        assert ids(answer, "subject", "fits", "compared", "unclear") == {"cup", *offered.ids}, offered.text
        if words.startswith("is the can"):
            assert ids(answer) == set(offered.ids)
            assert answer.value == ("yes" if offered.ids == ("left",) else "no")
    answer = said(Resolver().resolve(table.frame, "the right can", table.detections, follows=[words]))
    assert "right" in ids(answer, "subject", "fits", "compared", "unclear")


@pytest.mark.parametrize(
    "words",
    ["how far is the cup from the left can?", "how many cans are there?", "is there room for the cup on the table?",
     "is the cup behind the left can?"],
)  # fmt: skip
def test_answers_survive_json_and_are_drawn(table: Rendering, words: str) -> None:
    resolver = Resolver()
    answered = resolver.look_at(table.frame, table.detections).ask(words)
    assert resolution_from_json(resolution_json(answered.resolution)) == answered.resolution
    refused = resolver.resolve(table.frame, "it is", table.detections)
    plain = draw(table.frame, table.detections, refused, resolver.config)
    shown = draw(table.frame, answered.detections, answered.resolution, resolver.config, answered.scene)
    assert shown.shape[1] == plain.shape[1]
    assert (shown[: table.frame.rgb.shape[0]] != plain[: table.frame.rgb.shape[0]]).any()


def test_an_answer_is_the_same_each_time_and_says_what_was_taken_for_the_words(tabletop: Table) -> None:
    seen = tabletop.see(tabletop.can("can", -0.15, 0.0, label="soup can"), tabletop.cup("cup", 0.15, 0.0))
    words = "how far is the wooden can from the cup?"
    resolution = tabletop.ask(seen, words)
    assert resolution == tabletop.ask(seen, words)
    assert said(resolution).kind == "distance"
    assert [(taken.phrase, taken.id) for taken in resolution.taken_for] == [("wooden can", "can")]
    assert "where 'wooden can' means the soup can (can)" in resolution.message
    assert "Nothing moves" in QUESTION


OTHERS = {
    "wipe the tray": "'wipe'", "push the cup": "'push'", "let go of the cup": "'release'",
    "throw away the can": "'discard'", "avoid the cup": "'avoid'", "find the mug": "'find'",
    "give me the mug": "'give'", "could you find the mug": "'find'", "open the drawer and put the bowl in it": "'open'",
    "the dining table": "a dining table is never taken",
}  # fmt: skip
CARRIED_OUT = (
    "grab me the chick behind the cup", "the chick behind the cup", "pick up the mug and put it on the tray",
    "put the cup on the tray without touching the plate", "find the mug and pick it up", "move the can onto the tray",
    "put the ball in the bowl",
)  # fmt: skip


@pytest.mark.parametrize("words", OTHERS)
def test_an_arm_refuses_by_name_what_it_does_not_carry_out(words: str) -> None:
    with pytest.raises((NotExecutableError, NotUnderstoodError)) as refused:
        check_carried_out(parse(words)[0], ("take", "place", "stop"))
    assert OTHERS[words] in str(refused.value)


@pytest.mark.parametrize("words", CARRIED_OUT)
def test_an_arm_carries_out_one_command_to_take_or_place(words: str) -> None:
    check_carried_out(parse(words)[0], ("take", "place", "stop"))


@pytest.fixture(scope="module")
def seen(tabletop: Table) -> Rendering:
    return tabletop.scene("can can 0.2 0; cup cup 0 0")


def boxed(label: str, x0: float, y0: float, x1: float, y1: float) -> Detection:
    return Detection(id="large", label=label, box_xyxy=(x0, y0, x1, y1), score=0.9)


TABLE = boxed("dining table", 0.0, 300.0, 639.0, 400.0)  # farther left than both
OVER_A_THIRD = boxed("tray", 0.0, 160.0, 639.0, 330.0)
UNDER_A_THIRD = boxed("tray", 0.0, 160.0, 639.0, 310.0)


def test_every_step_is_resolved_and_the_answer_is_that_of_the_first(tabletop: Table, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "take the can and put it left of the cup, then push the cup")
    assert answer.status is Status.OK, answer.message
    assert [(step.act, step.words) for step in answer.request.steps] == [
        ("place", "put the can left of the cup"), ("push", "push the cup")]  # fmt: skip
    assert [step.target.id for step in answer.request.steps] == ["can", "cup"]
    assert [step.place for step in answer.request.steps] == [answer.place, None]
    assert (answer.target.id, answer.place is None) == ("can", False)
    assert resolution_from_json(resolution_json(answer)) == answer
    refused = tabletop.ask(seen, "take the can, then the ball")
    assert [(step.words, step.target) for step in refused.request.steps] == [
        ("pick up the can", None), ("pick up the ball", None)]  # fmt: skip


def test_a_prohibition_has_no_target_and_is_kept_in_its_dialogue(seen: Rendering) -> None:
    observed = Resolver().look_at(seen.frame, seen.detections)
    forbidden = observed.ask("don't touch the cup")
    answer = forbidden.resolution
    assert (answer.status, answer.message, answer.target) == (Status.ANSWERED, "I will not touch the cup.", None)
    assert resolution_from_json(resolution_json(answer)) == answer
    taken = observed.ask("take the can", follows=forbidden.dialogue).resolution
    assert ([each.id for each in taken.avoid], taken.target.id) == (["cup"], "can")
    assert observed.ask("take the cup", follows=forbidden.dialogue).resolution.status is Status.NOT_UNDERSTOOD
    permitted = observed.ask("you may touch the cup again", follows=forbidden.dialogue)
    assert permitted.resolution.message == "I may touch the cup again."
    assert observed.ask("take the cup", follows=permitted.dialogue).resolution.target.id == "cup"
    assert observed.ask("take the cup", follows=["don't touch the cup"]).resolution.status is Status.NOT_UNDERSTOOD


def test_a_support_is_none_of_the_objects_but_an_anchor(tabletop: Table, seen: Rendering) -> None:
    for large in (TABLE, OVER_A_THIRD):
        assert tabletop.meant(seen, "take the leftmost object", [*seen.detections, large]) == "cup"
    answer = tabletop.ask(seen, "grab the dining table", [*seen.detections, TABLE])
    assert (answer.status, answer.target) == (Status.NOT_UNDERSTOOD, None)
    assert "a dining table is never taken" in answer.message
    given = [*seen.detections, dataclasses.replace(TABLE, box_xyxy=(0.0, 160.0, 639.0, 479.0))]
    assert tabletop.meant(seen, "take the cup on the dining table", given) == "cup"
    assert tabletop.meant(seen, "find the dining table", given) != "NOT_FOUND"


def test_a_box_over_a_third_of_the_image_is_not_taken_and_the_answer_says_so(tabletop: Table, seen: Rendering) -> None:
    answer = tabletop.ask(seen, "take the tray", [*seen.detections, OVER_A_THIRD])
    assert (answer.status, answer.target) == (Status.NOT_FOUND, None)
    assert "over a third of the image: tray (large)" in answer.message
    assert tabletop.meant(seen, "take the tray", [*seen.detections, UNDER_A_THIRD]) != "NOT_FOUND"


@dataclasses.dataclass(frozen=True)
class Leaning:
    """A thin rod that leans to the right by 20 degrees from its lower end, and the size of what it lies in."""

    size: tuple[float, float, float] = (0.14, 0.014, 0.16)

    def hit(self, origin: np.ndarray, directions: np.ndarray) -> Any:
        c, s = np.cos(np.radians(20)), np.sin(np.radians(20))
        turn = np.array([[c, 0, s], [0, 1, 0], [-s, 0, c]])
        distances, normals = Box((0.014, 0.014, 0.16)).hit(origin @ turn, directions @ turn)
        return distances, normals @ turn.T


@pytest.mark.parametrize("boxes", [False, True])
@pytest.mark.parametrize(
    ("x", "base", "inside", "height"), [(-0.14, 0.01, True, 0.09), (-0.14, 0.01, True, 0.12), (-0.22, 0.0, False, 0.09)]
)
def test_a_spoon_that_leans_over_a_rim_is_in_the_mug_where_its_lower_end_is(
    tabletop: Table, boxes: bool, x: float, base: float, inside: bool, height: float
) -> None:
    spoon = Body("spoon", "spoon", Leaning(), (x, 0.0, base))
    mugs = [tabletop.cup(id_, at, 0, 0.036, height, "mug") for id_, at in (("left", -0.12), ("right", 0.12))]
    seen = tabletop.see(*mugs, spoon, eye=tabletop.pitched(35))
    given = tabletop.boxes_only(seen.detections) if boxes else seen.detections
    said = [tabletop.meant(seen, words, given) for words in ("the spoon in the mug", "the mug with the spoon in it")]
    assert said == (["spoon", "left"] if inside else ["RELATION_UNSATISFIED"] * 2)
    if inside:
        assert tabletop.meant(seen, "the empty mug", given) == "right"
