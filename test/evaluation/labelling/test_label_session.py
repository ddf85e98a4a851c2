# SPDX-License-Identifier: Apache-2.0
"""Sessions: how truth was made, what stands in the file after each decision, undoing, and what cannot be saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from compared_backends import Finds
from frame_files import case

from spatial_vlm_ros.errors import FileError, InputError, StaleCaseError
from spatial_vlm_ros.evaluation.answering import answer_cases
from spatial_vlm_ros.evaluation.frame_folder import load_cases
from spatial_vlm_ros.evaluation.labelling.sentences import read_sentences
from spatial_vlm_ros.evaluation.labelling.session import UNSAVED, LabelSession
from spatial_vlm_ros.evaluation.score import score
from spatial_vlm_ros.resolver import Resolver

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


# ------------------------------------------------------------------------------------------------ listing


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


# ------------------------------------------------------------------------------------------------ how it was made


def test_accepted_corrected_and_written_are_told_apart(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, "the cup")
    assert accept(session, 0)["by"] == "accepted"
    session.case(1)
    assert session.decide(1, {"status": "OK", "id": "box"}, ["wrong answer"])["by"] == "corrected"
    blind = opened("the box", blind=True)
    number = next(n for n, one in enumerate(blind.overview()["cases"]) if one["words"] == "the box")
    done = blind.decide(number, {"status": "OK", "id": "box"})
    assert (done["by"], done["agrees"], done["unchanged"], done["saved"]) == ("written", True, False, True)
    by_words = {line["instruction"]: line for line in lines_of(frames)}
    assert [by_words[words]["by"] for words in (BEHIND, "the cup", "the box")] == ["accepted", "corrected", "written"]
    assert by_words["the cup"]["kind"] == ["wrong answer"]


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


def test_a_truth_that_is_written_more_finely_than_the_page_does_keeps_its_bytes(opened: Open, frames: Path) -> None:
    place = {"relation": "on", "anchor_id": "cup", "anchor_also": ["box"], "region_center": [0.123456, 0, 1],
             "region_half": [0.1, 0.1, 0]}  # fmt: skip
    given = case("f1", BEHIND, status="OK", id="cup", label="mug", box=[10.25, 20, 300.123, 400], place=place)
    session = opened(lines=[given])
    before = (frames / "cases.jsonl").read_bytes()
    sent = {**given["expect"], "place": {name: place[name] for name in place if name != "anchor_also"}}
    assert session.decide(0, sent)["unchanged"]
    assert (frames / "cases.jsonl").read_bytes() == before


def test_objects_of_a_grounder_are_written_by_label_and_box(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, grounder=Finds())
    assert not session.case(0)["by_id"]
    accept(session, 0)
    (expect,) = expects(frames)
    assert expect.keys() == {"status", "label", "box"}
    assert expect["label"] == "chick"


# ------------------------------------------------------------------------------------------------ the file


def test_what_is_written_is_what_evaluate_scores(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, "put the box to the right of the cup", "how many chicks are there?", "the fork")
    for number in range(4):
        accept(session, number)
    cases = load_cases(frames)
    assert [one.instruction for one in cases] == [one["words"] for one in session.overview()["cases"][:4]]
    answered = list(answer_cases(frames, Resolver()))
    scored = score([one.case for one in answered], [one.resolution for one in answered])
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


def test_a_file_that_somebody_else_wrote_waits_for_the_person(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, lines=[case("f1", "the cup", "cup")])
    theirs = json.dumps(case("f1", "the box", "box")) + "\n"
    (frames / "cases.jsonl").write_text(theirs)
    done = accept(session, 1)
    assert (done["saved"], done["by_somebody_else"], done["lacking"]) == (False, True, 1)
    assert (frames / "cases.jsonl").read_text() == theirs
    assert session.save()["by_somebody_else"]  # saved again without a word is still refused
    assert session.save(merge=True)["saved"]
    assert [one["instruction"] for one in lines_of(frames)] == ["the box", BEHIND]
    listed = [(one["words"], one["state"]) for one in session.overview()["cases"]]
    assert listed[:2] == [("the box", "in the file"), (BEHIND, "decided")]


def test_what_the_file_has_lost_is_to_do_again_and_what_cannot_be_saved_is_written_beside(
    opened: Open, frames: Path
) -> None:
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


def test_a_case_that_was_decided_elsewhere_since_it_was_shown_is_not_overwritten(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    one, other = session.case(0), session.case(0)
    session.decide(0, {"status": "NOT_FOUND"}, None, BEHIND, seen=one["seen"])
    with pytest.raises(StaleCaseError, match="in another tab"):
        session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen=other["seen"])
    assert expects(frames) == [{"status": "NOT_FOUND"}]
    session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen=session.case(0)["seen"])
    assert expects(frames) == [{"status": "AMBIGUOUS"}]
    session.undo()
    with pytest.raises(StaleCaseError):
        session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen="")


@pytest.mark.parametrize(
    ("line", "words"),
    [("the\tcup", "line 2: a tab in"), ("the \u202ecup", "U+202E"), ("x" * 1001, "1001 characters")],
)
def test_a_line_that_is_no_sentence_is_named_with_what_is_wrong(tmp_path: Path, line: str, words: str) -> None:
    path = tmp_path / "sentences.txt"
    path.write_text(f"the cup\n{line}\n")
    with pytest.raises(FileError) as refused:
        read_sentences(path)
    assert words in str(refused.value)
    assert refused.value.field == "line 2"
