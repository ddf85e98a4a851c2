# SPDX-License-Identifier: Apache-2.0
"""How a model's probabilities and answers follow the truth of labelled frames, and the files of what was counted."""

import dataclasses
import json
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from frame_files import case, write_cases, write_frame
from tables import tables

from spatial_vlm_lab.cli.opinions import print_judge_calibration
from spatial_vlm_lab.comparison import judge_calibration
from spatial_vlm_lab.comparison.judge_calibration import JudgeTally, LabelledPhrase, OpinionTally, judge_json
from spatial_vlm_ros.errors import InputError, ModelError
from spatial_vlm_ros.geometry.boxes import is_contrary
from spatial_vlm_ros.parameters import ResolverConfig, SecondOpinionConfig, config_from
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.judging import Box as PixelBox
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.recording.cases import Case, Expectation, load_cases
from spatial_vlm_ros.sim.examples import CAMERA, chicks_and_cup_frame
from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, Sphere, World, look_at, render
from spatial_vlm_ros.spatial.second_opinion import load_reliabilities
from spatial_vlm_ros.types import Rgb, Status

TABLES = tables(__file__)

FRAME, SEEN = chicks_and_cup_frame()
BOX_OF = {d.id: d.box_xyxy for d in SEEN}
BEHIND = "the chick behind the cup"
CONFIG = ResolverConfig()


class Judge:
    """A model that says what a function of relation and boxes says."""

    def __init__(self, says: Callable[[str, PixelBox, PixelBox], float | None]) -> None:
        self._says = says

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.shape == FRAME.rgb.shape
        assert budget_s > 0
        return tuple(self._says(one.relation, one.target, one.anchor) for one in questions)


def higher_is_farther(relation: str, target: PixelBox, anchor: PixelBox) -> float:
    """Knows nothing but the rule of thumb."""
    return 0.97 if (target[1] + target[3] < anchor[1] + anchor[3]) == (relation == "behind") else 0.03


def asked(folder: Path, judge: Judge, budget_s: float = 9.0) -> JudgeTally:
    tally = JudgeTally()
    judge_calibration.ask_relations(folder, load_cases(folder), judge, CONFIG, tally, budget_s)
    return tally


def cases_of(folder: Path, *lines: dict[str, Any]) -> tuple[Case, ...]:
    for name in {str(line["frame"]) for line in lines}:
        write_frame(folder / name, FRAME, SEEN)
    write_cases(folder, lines)
    return load_cases(folder)


def test_the_relation_holds_of_the_object_that_is_expected_and_of_no_other_of_its_name() -> None:
    expected = Case("f0", BEHIND, Expectation(Status.OK, "bonnet"))
    assert judge_calibration.labelled_pairs(expected, SEEN, CONFIG) == tuple(
        judge_calibration.RelationLabel("behind", BOX_OF[id_], BOX_OF["cup"], id_ == "bonnet")
        for id_ in ("bonnet", "ribbon")
    )


@pytest.mark.parametrize(("words", "id_", "why"), TABLES["no truth"])
def test_a_case_that_tells_no_truth_says_why(words: str, id_: str | None, why: str) -> None:
    expect = None if id_ is None else Expectation(Status.OK, id_)
    assert why in str(judge_calibration.labelled_pairs(Case("f0", words, expect), SEEN, CONFIG))


def test_what_a_model_says_is_kept_with_the_truth_once_in_however_many_words_it_is_said(tmp_path: Path) -> None:
    judge = Judge(lambda _, target, __: 0.9 if target == BOX_OF["bonnet"] else None)
    words = (BEHIND, f"give me {BEHIND}", f"grab {BEHIND}")
    cases_of(tmp_path, *(case("f0", one, "bonnet") for one in words), case("f0", "the chick", "bonnet"))
    tally = asked(tmp_path, judge)
    assert dict(tally.said) == {"behind, higher": [(0.9, True)]}
    assert judge_json("m", tally, {})["measured"]["no_opinion"] == {"behind, lower": 1}
    assert tally.frames == {str(tmp_path / "f0")}
    assert tally.left_out.pop("its pairs were already used") == 2
    assert sum(tally.left_out.values()) == 1


@pytest.mark.live
def test_a_model_that_cannot_be_asked_is_named(tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    cases = cases_of(tmp_path, case("f0", BEHIND, "bonnet"))
    with WorkerGrounder("compact") as model, pytest.raises(InputError, match=r"judge\.mode"):
        judge_calibration.ask_relations(tmp_path, cases, model, CONFIG, JudgeTally(), 9.0)


BODIES = (
    Body("bonnet", "chick", Sphere(0.035), (0.16, -0.12, 0.0), "yellow"),
    Body("ribbon", "chick", Sphere(0.035), (-0.18, 0.1, 0.24), "yellow"),
    Body("cup", "cup", Cup(0.04, 0.09), (0.0, 0.0, 0.14), "blue"),
    Body("low", "box", Box((0.1, 0.1, 0.14)), (0.0, 0.0, 0.0), "red"),
    Body("high", "box", Box((0.08, 0.08, 0.24)), (-0.18, 0.1, 0.0), "green"),
)
RAISED = World(BODIES)
"""The chicks and the cup at other heights: the farther one is the lowest, the nearer one the highest."""
VIEW = look_at((-0.74, 0.0, 0.43), (0.0, 0.0, 0.1))
CONTRARY = render(RAISED, CAMERA, VIEW)


@pytest.fixture(scope="module", params=[(10, 10), (19, 1), pytest.param((20, 0), marks=pytest.mark.slow)])
def measured(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[JudgeTally, int]:
    """What comes of asking the planted judge about so many usual and so many contrary frames, and the latter."""
    folder, (usual, contrary) = tmp_path_factory.mktemp("frames"), request.param
    names = [f"{kind}{k}" for kind, n in (("usual", usual), ("contrary", contrary)) for k in range(n)]
    for name in names:
        frame, detections = (FRAME, SEEN) if "usual" in name else (CONTRARY.frame, CONTRARY.detections)
        write_frame(folder / name, frame, detections)
    write_cases(folder, [case(name, BEHIND, "bonnet") for name in names])
    return asked(folder, Judge(higher_is_farther)), contrary


@pytest.mark.live  # for its time: twenty frames
def test_who_only_follows_the_rule_knows_nothing_whatever_the_share_of_contrary_pairs(
    measured: tuple[JudgeTally, int], capsys: pytest.CaptureFixture[str]
) -> None:
    tally, contrary = measured
    known, few = tally.calibrations(), 2 * contrary < 20
    assert set(known) == {"behind, higher", "behind, lower"}
    assert not any(one.informs for one in known.values())
    (count,) = tally.contrary_counts().values()
    assert count == {"n": 40, "contrary": 2 * contrary, "right": 0}
    told = judge_json("a rule of thumb", tally, {"frames": 2})["measured"]
    assert told["contrary"] == {"behind": {"n": 40, "contrary": 2 * contrary, "right": 0}}
    print_judge_calibration("a rule of thumb", tally)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{2 * contrary} of 40 pairs contradict" in said
    assert "right on 0 of them" in said or not contrary
    assert ("Too few" in said) is few


def test_a_tilted_camera_is_not_asked_about_sides(tmp_path: Path) -> None:
    roll, turn = np.deg2rad(40.0), np.eye(4)
    turn[:2, :2] = [[np.cos(roll), -np.sin(roll)], [np.sin(roll), np.cos(roll)]]
    seen = render(RAISED, CAMERA, dataclasses.replace(VIEW, matrix=VIEW.matrix @ turn))
    write_frame(tmp_path / "turned", seen.frame, seen.detections)
    write_cases(tmp_path, [case("turned", BEHIND, "bonnet")])
    tally = asked(tmp_path, Judge(higher_is_farther))
    assert not tally.said
    assert "tilted" in next(iter(tally.left_out))


def test_time_that_is_used_up_is_seen(tmp_path: Path) -> None:
    class Slow(Judge):
        def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
            assert rgb.ndim == 3
            time.sleep(budget_s)
            return (0.9, *[None] * (len(questions) - 1))

    cases_of(tmp_path, case("usual", BEHIND, "bonnet"))
    tally = asked(tmp_path, Slow(higher_is_farther), 0.01)
    told = judge_json("m", tally, {})["measured"]
    assert (sum(told["no_time"].values()), told["no_opinion"]) == (1, {})
    assert [len(of) for of in tally.said.values()] == [1]


@pytest.mark.parametrize(("relation", "holds", "contrary"), TABLES["rule of thumb"])
def test_the_rule_is_about_depth_and_box_centres(relation: str, holds: bool, contrary: bool) -> None:
    high, low = (10.0, 10.0, 30.0, 30.0), (10.0, 40.0, 30.0, 60.0)
    assert is_contrary(relation, high, low, holds) is contrary
    if relation in ("behind", "in front of"):
        assert is_contrary(relation, low, high, holds) is not contrary


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
    return judge_calibration.labelled_phrase(Case("f", words, expect), SEEN, config_from(config))


@pytest.mark.parametrize(("instruction", "words", "key"), TABLES["phrases"])
def test_a_phrase_is_asked_without_the_verb_and_counted_by_its_words(instruction: str, words: str, key: str) -> None:
    assert labelled(instruction) == LabelledPhrase(words, key, frozenset({"bonnet"}))


def test_the_frame_of_reference_in_force_is_in_the_words_and_in_the_key() -> None:
    said: Any = labelled("the chick behind the cup as seen from the robot")
    assert said.key == "behind (robot)"
    assert labelled("the chick behind the cup", frame_of_reference="robot") == said
    assert labelled("the cup", "cup") == LabelledPhrase("the cup", "name", frozenset({"cup"}))  # a name alone


NOT_ONE, UNSEEN = "it does not expect exactly one object", "the expected object is not among the detections"


@pytest.mark.parametrize(("words", "id_", "status", "reason"), TABLES["left out"])
def test_what_tells_of_no_relation_is_left_out(words: str, id_: str | None, status: Status, reason: str) -> None:
    assert labelled(words, id_, Status(status)) == reason
    cup = Case("f", "the cup", Expectation(Status.OK, "cup"))
    assert judge_calibration.labelled_phrase(dataclasses.replace(cup, expect=None), SEEN, CONFIG) == NOT_ONE
    assert judge_calibration.labelled_phrase(cup, (), CONFIG) == UNSEEN


@pytest.fixture
def recordings(tmp_path: Path) -> Path:
    """Two frames alike, and one that cannot be read."""
    for name in ("f0", "f1"):
        write_frame(tmp_path / name, FRAME, SEEN)
    (tmp_path / "f2").mkdir()
    write_cases(tmp_path, [case(*told, *kind, **expect) for *told, kind, expect in TABLES["recorded"]])
    return tmp_path


def told(folder: Path, model: Naming) -> OpinionTally:
    tally = OpinionTally()
    judge_calibration.ask_phrases(folder, load_cases(folder), model, ResolverConfig(), tally)
    return tally


ANSWERS = {
    "the chick behind the cup": "bonnet", "the chick in front of the cup": "bonnet", "the cup": None,
    "the nearest chick": "ribbon",
}  # fmt: skip


def counts(right: int = 0, wrong: int = 0, none: int = 0) -> dict[str, int]:
    return {"right": right, "wrong": wrong, "none": none}


def test_answers_are_counted_as_right_another_and_none_by_what_the_phrase_says(recordings: Path) -> None:
    model = Naming(ANSWERS)
    tally = told(recordings, model)
    expected = {"behind": counts(right=2), "in front of": counts(wrong=1), "name": counts(none=1)}
    assert tally.counts == {**expected, "nearest": counts(right=1)}
    assert tally.kinds == {"behind, usual": counts(right=2), "in front of, counter-heuristic": counts(wrong=1)}
    assert ({Path(one).name for one in tally.frames}, tally.failed, len(model.asked)) == ({"f0", "f1"}, 0, 5)
    unreadable = [reason for reason in tally.left_out if "rgb.png" in reason or "camera_info.json" in reason]
    assert [tally.left_out[reason] for reason in unreadable] == [2]
    assert tally.left_out[NOT_ONE] == 2


def test_a_failed_request_does_not_count_and_the_next_goes(recordings: Path, caplog: pytest.LogCaptureFixture) -> None:
    tally = told(recordings, Naming({words: id_ for words, id_ in ANSWERS.items() if "front" not in words}))
    assert (tally.failed, sorted(tally.counts)) == (1, ["behind", "name", "nearest"])
    assert "'the chick in front of the cup' on f0 is not counted" in caplog.text


def test_after_three_failures_in_a_row_the_model_is_left_alone_and_the_counts_stay(recordings: Path) -> None:
    model, tally = Naming({"the chick behind the cup": "bonnet"}), OpinionTally()
    write_cases(recordings, [*(case("f0", words, id_) for words, id_ in (
        ("the chick behind the cup", "bonnet"), *(("the cup", "cup"),) * 2, ("the chick behind the cup", "bonnet"),
        *(("the cup", "cup"),) * 4))])  # fmt: skip
    with pytest.raises(ModelError, match="it has no answer"):
        judge_calibration.ask_phrases(recordings, load_cases(recordings), model, ResolverConfig(), tally)
    assert (tally.counts["behind"]["right"], tally.failed, len(model.asked)) == (2, 5, 7)


def test_a_box_counts_by_the_overlap_that_the_resolver_asks_for() -> None:
    x0, y0, x1, y1 = BOX_OF["bonnet"]
    half = (NamedObject("", (x0, y0, (x0 + x1) / 2, y1), None, None),)
    tally = OpinionTally()
    for overlap in (0.4, 0.6):
        tally.count("behind", half, SEEN, {"bonnet"}, overlap)
    assert tally.counts == {"behind": counts(right=1, none=1)}


def test_the_file_has_counts_with_wilson_intervals_and_is_read_back(tmp_path: Path) -> None:
    given = {"left of (robot)": counts(48, 1, 1), "behind": counts(none=3)}
    written = judge_calibration.reliability_json("a model", given, {"date": "2026-01-01", "frames": 4})
    path = tmp_path / "reliability.json"
    path.write_text(json.dumps(written))
    read = load_reliabilities(path)
    assert read.model == "a model"
    assert {key: vars(one) for key, one in read.by_relation.items()} == given
    low, high = written["relations"]["left of (robot)"]["intervals"]["right"]
    assert (low, high) == pytest.approx((0.8654, 0.9890), abs=1e-4)  # of 48 of 50: Wilson (1927)
    assert "measured" not in judge_calibration.reliability_json("a model", given)


@pytest.mark.parametrize(("told", "weight"), TABLES["weights"])
def test_what_counts_are_worth_is_told_as_the_resolver_takes_them(told: tuple[int, ...], weight: str) -> None:
    assert judge_calibration.weight_of(counts(*told), SecondOpinionConfig()) == weight
