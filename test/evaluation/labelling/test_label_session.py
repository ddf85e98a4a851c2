# SPDX-License-Identifier: Apache-2.0
"""Sessions: how truth was made, what stands in the file after each decision, undoing, and what cannot be saved."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
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


def test_a_case_shows_objects_answer_proposal_and_the_scene_from_above(opened: Open) -> None:
    shown = opened(BEHIND).case(0)
    assert shown["words"] == BEHIND
    assert shown["size"] == (640, 480)
    assert {one["id"] for one in shown["detections"]} == {"bonnet", "ribbon", "cup", "box"}
    assert shown["answer"]["status"] == "OK"
    assert shown["answer"]["id"] == "bonnet"
    assert shown["proposal"] == {"status": "OK", "id": "bonnet"}
    assert shown["ground"]["frame_id"] == "world"
    assert json.loads(json.dumps(shown))["truth"] is None


def test_words_that_are_not_understood_still_show_the_scene(opened: Open) -> None:
    shown = opened("blorf the wug").case(0)
    assert shown["proposal"] == {"status": "NOT_UNDERSTOOD"}
    assert len(shown["detections"]) == 4
    assert len(shown["ground"]["objects"]) == 4


def test_a_frame_that_cannot_be_read_is_said_and_can_be_passed_over(opened: Open, frames: Path) -> None:
    (frames / "f3").mkdir()
    (frames / "f3" / "rgb.png").write_bytes(b"no image")
    session = opened(BEHIND)
    shown = session.case(2)
    assert "not a whole image" in shown["problem"] or "camera_info" in shown["problem"]
    assert shown["size"] is None
    assert session.image(2) is None
    session.decide(2, {"status": "DEPTH_INVALID"})
    assert lines_of(frames)[0]["expect"] == {"status": "DEPTH_INVALID"}


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


def test_blind_shows_no_answer_before_a_decision(opened: Open) -> None:
    session = opened(BEHIND, blind=True)
    shown = session.case(0)
    assert shown["answer"] is None
    assert shown["proposal"] is None
    assert "bonnet" not in json.dumps({name: shown[name] for name in ("truth", "differs", "problem")})
    session.decide(0, {"status": "OK", "id": "ribbon"})
    after = session.case(0)
    assert after["answer"]["id"] == "bonnet"
    assert after["differs"]
    assert session.decide(0, {"status": "OK", "id": "bonnet"})["by"] == "accepted"  # seen by now


def test_an_answer_that_was_revealed_counts_as_seen(opened: Open) -> None:
    session = opened(BEHIND, blind=True)
    assert session.case(0, reveal=True)["answer"]["id"] == "bonnet"
    assert session.decide(0, {"status": "OK", "id": "ribbon"})["by"] == "corrected"


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
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

    class Finds:
        def ground(self, rgb: Any, phrases: Any) -> Any:  # noqa: ARG002
            from spatial_vlm_ros.perception.grounder import Grounding

            found = chicks_and_cup_frame()[1]
            match = [[float(one.label == phrase.category) for one in found] for phrase in phrases]
            import numpy as np

            return Grounding(found, np.array(match))

    session = opened(BEHIND, grounder=Finds())
    shown = session.case(0)
    assert not shown["by_id"]
    accept(session, 0)
    expect = lines_of(frames)[0]["expect"]
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


def test_a_box_around_another_object_than_the_one_named_stands_alone(opened: Open, frames: Path) -> None:
    """`evaluate` refuses an id together with a box elsewhere."""
    session = opened(BEHIND)
    box = next(one["box"] for one in session.case(0)["detections"] if one["id"] == "bonnet")
    near = [box[0] - 3.0, box[1], box[2], box[3] + 2.0]
    session.decide(0, {"status": "OK", "id": "bonnet", "box": near, "label": "chick"})
    assert lines_of(frames)[0]["expect"]["id"] == "bonnet"
    session.decide(0, {"status": "OK", "id": "bonnet", "box": [5.0, 5.0, 40.0, 40.0], "label": "lamp"})
    assert lines_of(frames)[0]["expect"] == {"status": "OK", "label": "lamp", "box": [5.0, 5.0, 40.0, 40.0]}


def test_ids_of_a_truth_about_other_detections_may_stay(opened: Open, frames: Path) -> None:
    session = opened(lines=[case("f1", "the cup", "old_7")])
    session.decide(0, {"status": "OK", "id": "old_7", "label": "cup"})
    assert lines_of(frames)[0]["expect"] == {"status": "OK", "id": "old_7", "label": "cup"}


def test_a_file_that_somebody_else_wrote_waits_for_the_person(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, lines=[case("f1", "the cup", "cup")])
    theirs = json.dumps(case("f1", "the box", "box")) + "\n"
    (frames / "cases.jsonl").write_text(theirs)
    done = accept(session, 1)
    assert not done["saved"]
    assert done["by_somebody_else"]
    assert done["lacking"] == 1
    assert (frames / "cases.jsonl").read_text() == theirs
    assert session.save()["by_somebody_else"]  # saved again without a word is still refused
    assert session.save(merge=True)["saved"]
    assert [one["instruction"] for one in lines_of(frames)] == ["the box", BEHIND]
    assert [(one["words"], one["state"]) for one in session.overview()["cases"]][:2] == [
        ("the box", "in the file"), (BEHIND, "decided")]  # fmt: skip


def test_what_cannot_be_saved_at_the_end_is_written_beside(opened: Open, frames: Path) -> None:
    session = opened(BEHIND, lines=[case("f1", "the cup", "cup")])
    assert session.close() is None
    (frames / "cases.jsonl").write_text("theirs\n")
    accept(session, 1)
    beside = session.close()
    assert beside == frames.resolve() / f"cases.jsonl{UNSAVED}"
    (line,) = beside.read_text().splitlines()
    assert json.loads(line)["instruction"] == BEHIND
    assert (frames / "cases.jsonl").read_text() == "theirs\n"


def test_too_many_cases_are_refused(opened: Open) -> None:
    with pytest.raises(InputError, match="Label in several runs"):
        opened(*(f"the cup {n}" for n in range(50_001)))


def test_a_case_that_was_decided_elsewhere_since_it_was_shown_is_not_overwritten(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    one, other = session.case(0), session.case(0)
    session.decide(0, {"status": "NOT_FOUND"}, None, BEHIND, seen=one["seen"])
    with pytest.raises(StaleCaseError, match="in another tab"):
        session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen=other["seen"])
    assert [line["expect"] for line in lines_of(frames)] == [{"status": "NOT_FOUND"}]
    session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen=session.case(0)["seen"])
    assert [line["expect"] for line in lines_of(frames)] == [{"status": "AMBIGUOUS"}]
    session.undo()
    with pytest.raises(StaleCaseError):
        session.decide(0, {"status": "AMBIGUOUS"}, None, BEHIND, seen="")


def test_what_the_file_has_lost_is_to_do_again(opened: Open, frames: Path) -> None:
    session = opened(BEHIND)
    accept(session, 0)
    (frames / "cases.jsonl").unlink()
    accept(session, 1)
    assert session.saved()["by_somebody_else"]
    session.save(merge=True)
    assert states(session) == ["to do", "decided"]
    assert [line["frame"] for line in lines_of(frames)] == ["f2"]


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
