# SPDX-License-Identifier: Apache-2.0
"""What is counted of a model that is asked for phrases whose right object is known, and the file of the counts."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from frame_files import case, write_cases, write_frame

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.evaluation.frame_folder import Case, Expectation, load_cases
from spatial_vlm_ros.evaluation.reliability import (
    LabelledPhrase,
    OpinionTally,
    ask_phrases,
    labelled_phrase,
    reliability_json,
    weight_of,
)
from spatial_vlm_ros.parameters import ResolverConfig, SecondOpinionConfig, config_from
from spatial_vlm_ros.perception.replies import NamedObject
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.spatial.second_opinion import load_reliabilities
from spatial_vlm_ros.types import Rgb, Status

FRAME, SEEN = chicks_and_cup_frame()


FRAME, SEEN = chicks_and_cup_frame()


BOX_OF = {d.id: d.box_xyxy for d in SEEN}


class Naming:
    """Answers each phrase as it is told; what has no answer fails."""

    def __init__(self, answers: Mapping[str, str | None]) -> None:
        self.answers, self.asked = answers, list[str]()

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        assert rgb.shape == FRAME.rgb.shape
        self.asked.append(words)
        if words not in self.answers:
            raise ModelError("naming", "it has no answer", "teach it one")
        id_ = self.answers[words]
        return () if id_ is None else (NamedObject("", BOX_OF[id_], None, None),)


def labelled(words: str, id_: str | None = "bonnet", status: Status = Status.OK, **config: Any) -> LabelledPhrase | str:
    also = () if id_ is None else ("ribbon",) if id_ == "both" else ()
    expect = Expectation(status, "bonnet" if id_ == "both" else id_, also)
    return labelled_phrase(Case("f", words, expect), SEEN, config_from(config))


# ------------------------------------------------------------------------------------------------ what is asked


@pytest.mark.parametrize(
    ("instruction", "words", "key"),
    [
        ("grab me the chick behind the cup", "the chick behind the cup", "behind"),
        ("the farthest chick", "the farthest chick", "farthest"),
        ("take the second chick from the left", "the second chick from the left", "n-th from the left"),
        ("the chick not in front of the cup", "the chick that is not in front of the cup", "not in front of"),
    ],
)
def test_a_phrase_is_asked_without_the_verb_and_counted_under_what_it_says(
    instruction: str, words: str, key: str
) -> None:
    assert labelled(instruction) == LabelledPhrase(words, key, frozenset({"bonnet"}))


def test_the_frame_of_reference_in_force_is_in_the_words_and_in_the_key() -> None:
    said = labelled("the chick behind the cup as seen from the robot")
    assert isinstance(said, LabelledPhrase)
    assert said.key == "behind (robot)"
    assert labelled("the chick behind the cup", frame_of_reference="robot") == said
    assert labelled("the cup", "cup") == LabelledPhrase("the cup", "name", frozenset({"cup"}))  # a name alone


NOT_ONE, UNSEEN, UNKNOWN, SEVERAL, ALONE = (
    "it does not expect exactly one object",
    "the expected object is not among the detections",
    "the words are not understood",
    "several objects, relations or readings",
    "no other object has that name, so the relation decides nothing",
)


@pytest.mark.parametrize(
    ("words", "id_", "status", "reason"),
    [
        ("the chick", None, Status.AMBIGUOUS, NOT_ONE),
        ("the chick on the cup", None, Status.RELATION_UNSATISFIED, NOT_ONE),
        ("the chick behind the cup", None, Status.OK, NOT_ONE),
        ("the chick behind the cup", "d7", Status.OK, UNSEEN),
        ("chick the behind grab", "bonnet", Status.OK, UNKNOWN),
        ("stop", "bonnet", Status.OK, UNKNOWN),
        ("both chicks", "bonnet", Status.OK, SEVERAL),
        ("any chick", "bonnet", Status.OK, SEVERAL),
        ("the chick behind the cup next to the box", "bonnet", Status.OK, SEVERAL),
        ("put the chick behind the cup on the box", "bonnet", Status.OK, SEVERAL),
        ("the cup left of the box", "cup", Status.OK, ALONE),
        ("the chick next to the cup", "both", Status.OK, ALONE),  # others are as right
    ],
)
def test_what_would_tell_nothing_of_one_relation_is_left_out_with_its_reason(
    words: str, id_: str | None, status: Status, reason: str
) -> None:
    assert labelled(words, id_, status) == reason
    assert labelled_phrase(Case("f", "the cup"), SEEN, ResolverConfig()) == NOT_ONE  # without truth
    assert labelled_phrase(Case("f", "the cup", Expectation(Status.OK, "cup")), (), ResolverConfig()) == UNSEEN


# ------------------------------------------------------------------------------------------------ what is counted


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two frames alike, and one that cannot be read."""
    for name in ("f0", "f1"):
        write_frame(tmp_path / name, FRAME, SEEN)
    (tmp_path / "f2").mkdir()
    behind, before = "the chick behind the cup", "the chick in front of the cup"
    write_cases(
        tmp_path,
        [
            case("f0", behind, "bonnet", "usual"),
            case("f0", before, "ribbon", "Counter_Heuristic"),
            case("f0", "the cup", "cup"),
            case("f1", behind, "bonnet", "usual"),
            case("f1", "the nearest chick", "ribbon"),
            case("f1", "the chick", status="AMBIGUOUS"),
            case("f1", "the box"),
            case("f2", behind, "bonnet"),
            case("f2", before, "ribbon"),
        ],
    )
    return tmp_path


def asked(folder: Path, model: Naming) -> OpinionTally:
    tally = OpinionTally()
    ask_phrases(folder, load_cases(folder), model, ResolverConfig(), tally)
    return tally


ANSWERS = {
    "the chick behind the cup": "bonnet", "the chick in front of the cup": "bonnet", "the cup": None,
    "the nearest chick": "ribbon",
}  # fmt: skip


def counts(right: int = 0, wrong: int = 0, none: int = 0) -> dict[str, int]:
    return {"right": right, "wrong": wrong, "none": none}


def test_answers_are_counted_as_right_another_and_none_by_what_the_phrase_says(recordings: Path) -> None:
    model = Naming(ANSWERS)
    tally = asked(recordings, model)
    assert tally.counts == {
        "behind": counts(right=2), "in front of": counts(wrong=1), "name": counts(none=1), "nearest": counts(right=1)
    }  # fmt: skip
    assert tally.kinds == {"behind, usual": counts(right=2), "in front of, counter-heuristic": counts(wrong=1)}
    assert (tally.frames, tally.failed, len(model.asked)) == ({"f0", "f1"}, 0, 5)
    unreadable = [reason for reason in tally.left_out if "rgb.png" in reason or "camera_info.json" in reason]
    assert [tally.left_out[reason] for reason in unreadable] == [2]
    assert tally.left_out[NOT_ONE] == 2


def test_a_request_that_fails_is_not_counted_and_the_next_is_asked(
    recordings: Path, caplog: pytest.LogCaptureFixture
) -> None:
    tally = asked(recordings, Naming({words: id_ for words, id_ in ANSWERS.items() if "front" not in words}))
    assert (tally.failed, sorted(tally.counts)) == (1, ["behind", "name", "nearest"])
    assert "'the chick in front of the cup' on f0 is not counted" in caplog.text


def test_after_three_failures_in_a_row_the_model_is_left_alone_and_the_counts_stay(recordings: Path) -> None:
    model, tally = Naming({"the chick behind the cup": "bonnet"}), OpinionTally()
    write_cases(recordings, [*(case("f0", words, id_) for words, id_ in (
        ("the chick behind the cup", "bonnet"), *(("the cup", "cup"),) * 2, ("the chick behind the cup", "bonnet"),
        *(("the cup", "cup"),) * 4))])  # fmt: skip
    with pytest.raises(ModelError, match="it has no answer"):
        ask_phrases(recordings, load_cases(recordings), model, ResolverConfig(), tally)
    assert (tally.counts["behind"]["right"], tally.failed, len(model.asked)) == (2, 5, 7)


def test_a_box_counts_by_the_overlap_that_the_resolver_asks_for() -> None:
    x0, y0, x1, y1 = BOX_OF["bonnet"]
    half = (NamedObject("", (x0, y0, (x0 + x1) / 2, y1), None, None),)
    tally = OpinionTally()
    for overlap in (0.4, 0.6):
        tally.count("behind", half, SEEN, {"bonnet"}, overlap)
    assert tally.counts == {"behind": counts(right=1, none=1)}


# ------------------------------------------------------------------------------------------------ the file


def test_the_file_has_counts_with_wilson_intervals_and_is_read_back(tmp_path: Path) -> None:
    given = {"left of (robot)": counts(48, 1, 1), "behind": counts(none=3)}
    written = reliability_json("a model", given, {"date": "2026-01-01", "frames": 4})
    path = tmp_path / "reliability.json"
    path.write_text(json.dumps(written))
    read = load_reliabilities(path)
    assert read.model == "a model"
    assert {key: vars(one) for key, one in read.by_relation.items()} == given
    low, high = written["relations"]["left of (robot)"]["intervals"]["right"]
    assert (low, high) == pytest.approx((0.8654, 0.9890), abs=1e-4)  # of 48 of 50: Wilson (1927)
    assert "measured" not in reliability_json("a model", given)


@pytest.mark.parametrize(
    ("told", "weight"),
    [
        ((17, 0, 0), "may break a tie"),
        ((16, 0, 0), "weighed"),
        ((1, 1, 0), "reported only"),
        ((0, 5, 0), "reported only"),
        ((0, 0, 3), "reported only"),
    ],
)
def test_what_counts_are_worth_is_told_as_the_resolver_takes_them(told: tuple[int, ...], weight: str) -> None:
    assert weight_of(counts(*told), SecondOpinionConfig()) == weight
