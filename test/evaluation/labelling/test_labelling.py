# SPDX-License-Identifier: Apache-2.0
"""Truth is proposed, written in lines and decided in sessions: nothing that somebody wrote by hand is lost."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from compared_backends import Finds
from frame_files import case
from tables import tables

from spatial_vlm_lab.labelling import truth_proposal
from spatial_vlm_lab.labelling.session import UNSAVED, LabelSession
from spatial_vlm_lab.scoring.outcome import judge
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.recording.cases import CaseLine, load_cases
from spatial_vlm_ros.recording.replay import answer_cases
from spatial_vlm_ros.resolver import Answered, Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup, chicks_and_cup_frame
from spatial_vlm_ros.types import RgbdFrame

TABLES = tables(__file__)

PLACE = {"relation": "on", "anchor_id": "d2", "region_center": [0.1, 0.2, 0.3], "region_half": [0.1, 0.1, 0.0]}

OLD = {
    "frame": "f1",
    "question": "where is the cup?",
    "kind": ["1 bare"],
    "annotator": "Ann",
    "expect": {"status": "OK", "id": "d1", "mask": "m.png", "sure": 0.7, "tolerance_m": 0.02,
               "box_3d": {"center": [0, 0, 1], "size": [1, 1, 1]}, "place": {**PLACE, "because": "the plate"}},
}  # fmt: skip


def truth(**given: Any) -> dict[str, Any]:
    return truth_proposal.checked_truth(given, ("d1", "d2", "d3"), (640, 480), with_place=True)


def corrected(old: dict[str, Any], words: str = "", **given: Any) -> dict[str, Any]:
    return truth_proposal.case_line(old, {}, words, None, truth(**given), "corrected")


def test_a_new_line_has_its_own_fields_and_those_that_the_page_does_not_write_stay() -> None:
    line = truth_proposal.case_line({}, {"frame": "f1"}, "the cup", [], truth(status="OK", id="d1"), "accepted")
    expect = {"status": "OK", "id": "d1"}
    assert line == {"frame": "f1", "instruction": "the cup", "expect": expect, "by": "accepted"}
    line = corrected(OLD, "where is the cup?", status="OK", id="d1", place=PLACE)
    assert line == {**OLD, "by": "corrected"}
    assert list(line)[:2] == ["frame", "question"]


def test_fields_within_a_place_go_with_its_relation_and_anchor() -> None:
    moved, other = {**PLACE, "region_center": [0.2, 0.2, 0.3]}, {**PLACE, "anchor_id": "d3"}
    line = corrected(OLD, status="OK", id="d1", place=moved)
    assert line["expect"]["place"] == {**moved, "because": "the plate"}
    assert "replaced" not in line
    line = corrected(OLD, status="OK", id="d1", place=other)
    assert line["expect"]["place"] == other
    assert line["replaced"] == {"place": {**PLACE, "because": "the plate"}}


def test_what_describes_another_object_or_none_is_moved_and_not_lost() -> None:
    line = corrected(OLD, status="OK", id="d2")
    assert line["expect"] == {"status": "OK", "id": "d2", "sure": 0.7}
    moved = {name: OLD["expect"][name] for name in ("mask", "box_3d", "tolerance_m", "place")}  # type: ignore[index]
    assert line["replaced"] == moved
    old = {"frame": "f1", "instruction": "x", "expect": {"status": "OK", "mask": "m.png"}, "replaced": {"id": "d0"}}
    line = corrected(old, "x", status="NOT_FOUND")
    assert line["expect"] == {"status": "NOT_FOUND"}
    assert line["replaced"] == {"id": "d0", "mask": "m.png"}
    with pytest.raises(InputError, match="both `instruction` and `question`"):
        corrected({"frame": "f1", "instruction": "x", "question": "x"}, "x", status="OK")


@pytest.mark.parametrize("given", TABLES["right truth"])
def test_what_is_checked_can_be_read_as_a_case(given: dict[str, Any]) -> None:
    line = truth_proposal.case_line({}, {"frame": "f1"}, "x", ["a"], truth(**given), "written")
    case: Any = msgspec.json.decode(json.dumps(line), type=CaseLine).case()
    assert case.expect.status.value == given["status"]
    assert case.expect.id == given.get("id")
    assert case.kind == ("a",)


@pytest.mark.parametrize(("given", "words"), TABLES["wrong truth"])
def test_wrong_truth_is_refused_in_words(given: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        truth(**given)


def test_kinds_are_words() -> None:
    assert truth_proposal.checked_kind(None) is None
    assert truth_proposal.checked_kind([" a ", "b", "a"]) == ["a", "b"]
    for wrong in ("a", [1], [""]):
        with pytest.raises(InputError):
            truth_proposal.checked_kind(wrong)
    with pytest.raises(InputError, match=r"Add base_T_camera.json or truth.json"):
        truth_proposal.checked_truth({"status": "OK", "place": PLACE}, ("d2",), None, with_place=False)


@pytest.fixture(scope="module")
def seen() -> tuple[RgbdFrame, tuple[Any, ...]]:
    return chicks_and_cup_frame()


def answered(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str) -> tuple[Answered, truth_proposal.Ground]:
    frame, detections = seen
    answer: Any = Resolver().look_at(frame, detections).ask(words)
    return answer, truth_proposal.ground_of(answer.scene, frame.base_T_camera)


def proposal(seen: tuple[RgbdFrame, tuple[Any, ...]], words: str, by_id: bool = True) -> dict[str, Any]:
    answer, ground = answered(seen, words)
    return truth_proposal.proposed(answer.resolution, answer.detections, ground, by_id=by_id)


def test_objects_and_refusals_are_proposed_by_id_or_by_label_and_box(seen: Any) -> None:
    assert proposal(seen, "the chick behind the cup") == {"status": "OK", "id": "bonnet"}
    (bonnet,) = [one for one in seen[1] if one.id == "bonnet"]
    found = proposal(seen, "the chick behind the cup", by_id=False)
    assert found == {"status": "OK", "label": "chick", "box": [pytest.approx(v, abs=0.05) for v in bonnet.box_xyxy]}
    found = proposal(seen, "both chicks")
    assert {found["id"], *found["id_also"]} == {"bonnet", "ribbon"}
    assert proposal(seen, "the chick") == {"status": "AMBIGUOUS"}
    assert proposal(seen, "the fork") == {"status": "NOT_FOUND"}


def test_the_answer_of_a_question_with_half_its_interval(seen: Any) -> None:
    answer, _ = answered(seen, "how far is the cup from the box?")
    found = proposal(seen, "how far is the cup from the box?")
    space: Any = answer.resolution.answer
    assert found["status"] == "ANSWERED"
    assert found["answer"]["value"] == pytest.approx(space.value, abs=0.0006)
    assert found["answer"]["tolerance"] == pytest.approx((space.interval[1] - space.interval[0]) / 2, abs=0.0006)
    counted = proposal(seen, "how many chicks are there?")["answer"]
    assert (counted["value"], set(counted["ids"])) == (2, {"ribbon", "bonnet"})


def test_a_side_is_one_spot_around_the_place_and_next_to_a_box_around_the_anchor(seen: Any) -> None:
    words = "put the box to the right of the cup"
    answer, _ = answered(seen, words)
    place: Any = proposal(seen, words)["place"]
    given: Any = answer.resolution.place
    assert given.pose.frame_id == "world"
    assert (place["relation"], place["anchor_id"]) == ("right of", "cup")
    assert place["region_center"] == pytest.approx(given.pose.position, abs=1e-4)
    assert place["region_half"] == [0.06, 0.06, 0.0]
    place = proposal(seen, "put the box next to the cup")["place"]
    assert place["region_center"][:2] == pytest.approx((0.0, 0.0), abs=0.01)  # where the cup stands
    assert place["region_half"][:2] == pytest.approx((0.19, 0.19), abs=0.01)  # its radius and 15 cm
    bare = dataclasses.replace(seen[0], base_T_camera=None)
    assert "place" not in proposal((bare, seen[1]), words)


def test_the_scene_from_above_is_where_the_bodies_are(seen: Any) -> None:
    _, ground = answered(seen, "the cup")
    assert ground.frame_id == "world"
    for body in chicks_and_cup().bodies:
        found = ground.objects[body.id]
        low, high = found.outline.min(axis=0), found.outline.max(axis=0)
        assert (low + high) / 2 == pytest.approx(body.position[:2], abs=0.012)
        assert found.bottom == pytest.approx(0.0, abs=0.01)
    assert ground.camera == pytest.approx((-0.74, 0.0), abs=1e-6)
    assert ground.ahead == pytest.approx((1.0, 0.0), abs=1e-6)


def test_without_a_pose_the_axes_are_the_cameras(seen: Any) -> None:
    frame, detections = seen
    bare = dataclasses.replace(frame, base_T_camera=None)
    _, ground = answered((bare, detections), "the cup")
    _, posed = answered(seen, "the cup")
    assert ground.frame_id is None
    assert ground.ahead == pytest.approx((0.0, 1.0), abs=1e-6)
    middles = [[g.objects[id_].outline.mean(axis=0) for id_ in ("bonnet", "ribbon")] for g in (ground, posed)]
    one, other = (np.linalg.norm(first - second) for first, second in middles)
    assert one == pytest.approx(other, abs=0.01)
    assert ground.json()["frame_id"] is None


@pytest.mark.parametrize(("one", "other", "same"), TABLES["same truths"])
def test_when_two_truths_say_the_same(one: dict[str, Any], other: dict[str, Any], same: bool) -> None:
    assert truth_proposal.same_truth(one, other) is same


BEHIND = "the chick behind the cup"
Open = Callable[..., LabelSession]


def lines_of(frames: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (frames / "cases.jsonl").read_text().splitlines()]


def states(session: LabelSession) -> list[str]:
    return [one["state"] for one in session.overview()["cases"]]


def accept(session: LabelSession, number: int) -> dict[str, Any]:
    return session.decide(number, session.case(number)["proposal"])


def expects(frames: Path) -> list[dict[str, Any]]:
    return [line["expect"] for line in lines_of(frames)]


def test_cases_of_the_file_come_first_then_every_sentence_on_every_frame(opened: Open) -> None:
    given = [case("f2", "the cup", "cup"), case("f1", BEHIND), case("f9", "of another folder")]
    session = opened(BEHIND, "the box", "the box ", lines=given)
    overview = session.overview()
    listed = [(one["frame"], one["words"], one["state"]) for one in overview["cases"]]
    assert listed == [(0, BEHIND, "to do"), (0, "the box", "to do"), (1, "the cup", "in the file"),
                      (1, BEHIND, "to do"), (1, "the box", "to do")]  # fmt: skip
    assert overview["others"] == 1
    assert overview["saved"]


def test_a_case_shows_objects_answer_proposal_and_the_scene_from_above(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, "blorf the wug")
    shown = session.case(0)
    assert (shown["words"], shown["size"], shown["ground"]["frame_id"]) == (BEHIND, (640, 480), "world")
    assert {one["id"] for one in shown["detections"]} == {"bonnet", "ribbon", "cup", "box"}
    assert (shown["answer"]["status"], shown["answer"]["id"]) == ("OK", "bonnet")
    assert shown["proposal"] == {"status": "OK", "id": "bonnet"}
    assert json.loads(json.dumps(shown))["truth"] is None
    unknown = session.case(1)  # words that are not understood still show the scene
    assert unknown["proposal"] == {"status": "NOT_UNDERSTOOD"}
    assert (len(unknown["detections"]), len(unknown["ground"]["objects"])) == (4, 4)
    (frames / "f3").mkdir()
    (frames / "f3" / "rgb.png").write_bytes(b"no image")
    session = opened(BEHIND)
    shown = session.case(2)  # a frame that cannot be read can be passed over
    assert "not a whole image" in shown["problem"] or "camera_info" in shown["problem"]
    assert (shown["size"], session.image(2)) == (None, None)
    session.decide(2, {"status": "DEPTH_INVALID"})
    assert expects(frames) == [{"status": "DEPTH_INVALID"}]
    with pytest.raises(InputError, match="Label in several runs"):
        opened(*(f"the cup {n}" for n in range(50_001)))


def test_blind_shows_no_answer_before_a_decision_or_until_it_is_revealed(opened: Open) -> None:
    session = opened(BEHIND, blind=True)
    shown = session.case(0)
    assert (shown["answer"], shown["proposal"]) == (None, None)
    assert "bonnet" not in json.dumps({name: shown[name] for name in ("truth", "differs", "problem")})
    session.decide(0, {"status": "OK", "id": "ribbon"})
    after = session.case(0)
    assert after["answer"]["id"] == "bonnet"
    assert after["differs"]
    assert session.decide(0, {"status": "OK", "id": "bonnet"})["by"] == "accepted"  # seen by now
    assert session.case(1, reveal=True)["answer"]["id"] == "bonnet"
    assert session.decide(1, {"status": "OK", "id": "ribbon"})["by"] == "corrected"


def test_a_truth_that_is_left_as_it_is_keeps_its_bytes(opened: Open, frames: Path) -> None:
    text = '{ "frame":"f1","instruction" : "the cup", "expect":{"status":"OK","id":"cup"},"kind":["1"], "x":1.50}\n'
    (frames / "cases.jsonl").write_text(text)
    session = opened()
    shown = session.case(0)
    assert session.decide(0, shown["truth"], shown["kind"])["unchanged"]
    assert states(session) == ["decided"]
    assert (frames / "cases.jsonl").read_text() == text
    assert session.decide(0, {"status": "OK", "id": "box"})["by"] == "corrected"
    (line,) = lines_of(frames)
    assert line["x"] == 1.5
    assert line["expect"] == {"status": "OK", "id": "box"}


def test_objects_of_a_grounder_are_written_by_label_and_box(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, grounder=Finds())
    assert not session.case(0)["by_id"]
    accept(session, 0)
    (expect,) = expects(frames)
    assert expect.keys() == {"status", "label", "box"}
    assert expect["label"] == "chick"


def test_what_is_written_is_what_evaluate_scores(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, "put the box to the right of the cup", "how many chicks are there?", "the fork")
    for number in range(4):
        accept(session, number)
    cases = load_cases(frames)
    assert [one.instruction for one in cases] == [one["words"] for one in session.overview()["cases"][:4]]
    answered = list(answer_cases(frames, Resolver()))
    scored = judge([one.case for one in answered], [one.resolution for one in answered])
    assert (scored.as_expected.k, scored.as_expected.n) == (4, 4)


def test_a_typed_sentence_is_in_the_file_at_once_without_a_truth(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    assert session.add(0, " the box ") == 1
    assert lines_of(frames) == [{"frame": "f1", "instruction": "the box"}]
    assert states(session) == ["to do", "to do", "to do"]
    assert session.undo() is not None
    assert lines_of(frames) == []
    for wrong in ("", "a\nb", "x" * 1001, BEHIND):
        with pytest.raises(InputError):
            session.add(0, wrong)
    with pytest.raises(InputError):
        session.add(7, "the box")


def test_undoing_goes_back_decision_by_decision(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, lines=[case("f1", "the cup", "cup")])
    start = (frames / "cases.jsonl").read_bytes()
    session.case(0)
    session.decide(0, {"status": "OK", "id": "box"})
    one = (frames / "cases.jsonl").read_bytes()
    accept(session, 1)
    assert session.undo() == 1
    assert (frames / "cases.jsonl").read_bytes() == one
    assert session.undo() == 0
    assert (frames / "cases.jsonl").read_bytes() == start
    assert states(session) == ["in the file", "to do", "to do"]
    assert session.undo() is None


def test_wrong_truth_changes_nothing(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    with pytest.raises(InputError):
        session.decide(0, {"status": "OK", "id": "nobody"})
    with pytest.raises(InputError):
        session.decide(99, {"status": "OK"})
    with pytest.raises(InputError, match="pose in base"):  # f2 has none
        session.decide(1, {"status": "OK", "place": {"relation": "on", "anchor_id": "cup", "region_center": [0, 0, 0],
                                                     "region_half": [1, 1, 0]}})  # fmt: skip
    assert not (frames / "cases.jsonl").exists()
    assert session.overview()["undoable"] == 0


def test_ids_and_boxes_of_other_objects_stand_as_evaluate_takes_them(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    box = next(one["box"] for one in session.case(0)["detections"] if one["id"] == "bonnet")
    near, far = [box[0] - 3.0, box[1], box[2], box[3] + 2.0], [5.0, 5.0, 40.0, 40.0]
    session.decide(0, {"status": "OK", "id": "bonnet", "box": near, "label": "chick"})
    assert expects(frames)[0]["id"] == "bonnet"
    session.decide(0, {"status": "OK", "id": "bonnet", "box": far, "label": "lamp"})
    assert expects(frames) == [{"status": "OK", "label": "lamp", "box": far}]  # `evaluate` refuses an id beside it
    session = opened(lines=[case("f1", "the cup", "old_7")])
    session.decide(0, {"status": "OK", "id": "old_7", "label": "cup"})  # of other detections: it may stay
    assert expects(frames) == [{"status": "OK", "id": "old_7", "label": "cup"}]


def test_what_the_file_lost_is_to_do_and_what_cannot_be_saved_is_beside(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    assert session.close() is None
    accept(session, 0)
    (frames / "cases.jsonl").unlink()
    accept(session, 1)
    assert session.saved()["by_somebody_else"]
    session.save(merge=True)
    assert states(session) == ["to do", "decided"]
    assert [line["frame"] for line in lines_of(frames)] == ["f2"]
    (frames / "cases.jsonl").write_text("theirs\n")
    accept(session, 0)
    beside = session.close()
    assert beside == frames.resolve() / f"cases.jsonl{UNSAVED}"
    assert [json.loads(line)["frame"] for line in beside.read_text().splitlines()] == ["f1"]
    assert (frames / "cases.jsonl").read_text() == "theirs\n"


@pytest.mark.parametrize(
    ("line", "words"), [("the\tcup", "line 2: a tab in"), ("the \u202ecup", "U+202E"), ("x" * 1001, "1001 characters")]
)
def test_a_line_that_is_no_sentence_is_named_with_what_is_wrong(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text(f"the cup\n{line}\n")
    with pytest.raises(FileError) as refused:
        truth_proposal.read_sentences(path)
    assert words in str(refused.value)
    assert refused.value.field == "line 2"
