# SPDX-License-Identifier: Apache-2.0
"""Who says what of one sentence: a planted failure shows, and nothing a model says hides what is measured."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import compared_backends
import pytest
from compared_backends import HigherIsFarther
from frame_files import case, write_cases
from tables import tables

from spatial_vlm_lab.comparison.relation_comparison import ComparisonPlan, compare_sentence, expected_of, judges_of
from spatial_vlm_lab.scoring.model_spec import ModelSpec
from spatial_vlm_ros import errors
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.parameters import ResolverConfig, config_from
from spatial_vlm_ros.recording.frame_folder import write_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Status
from spatial_vlm_ros.types.relation_comparison import RelationComparison

if TYPE_CHECKING:
    from conftest import Tabletop

    from spatial_vlm_ros.sim.tabletop import Rendering

TABLES = tables(__file__)

BEHIND = "the can behind the cup"
HIGHER = "higher=compared_backends:HigherIsFarther"
GOOD = {"slope": 1.0, "error": 0.05, "offset": 0.0, "n": 400, "positive": 200}


@pytest.fixture(scope="module")
def usual(tabletop: Tabletop) -> Rendering:
    """Cans "near" and "far" before and behind a cup, all on the table: the farther one is higher in the image."""
    return tabletop.see(tabletop.cup("cup", 0, 0), tabletop.can("near", -0.1, -0.2), tabletop.can("far", 0.1, 0.2))


@pytest.fixture(scope="module")
def contrary(tabletop: Tabletop) -> Rendering:
    """The near can stands on a tower and the cup on a block: the farther can is the lower one in the image."""
    return tabletop.see(
        tabletop.block("stand", 0.0, 0.0, (0.1, 0.1, 0.16)), tabletop.cup("cup", 0.0, 0.0, z=0.16),
        tabletop.block("tower", -0.2, -0.2, (0.1, 0.1, 0.3)), tabletop.can("near", -0.2, -0.2, z=0.3),
        tabletop.can("far", 0.2, 0.15), eye=(0.0, -1.1, 0.5), target=(0.0, 0.0, 0.15),
    )  # fmt: skip


def plan(*judges: str, calibrations: Sequence[str] = (), **more: Any) -> ComparisonPlan:
    return ComparisonPlan(judges_of(judges or (HIGHER,), calibrations), **more)


def compared(
    seen: Rendering, words: str = BEHIND, made: ComparisonPlan | None = None, **more: Any
) -> RelationComparison:
    config = more.pop("config", ResolverConfig())
    return compare_sentence(seen.frame, seen.detections, words, made or plan(), config, **more).comparison


def calibration(path: Path, behind: dict[str, float]) -> str:
    known = {f"behind, {where}": behind for where in ("higher", "lower")}
    path.write_text(json.dumps({"schema": 1, "model": "m", "relations": known}))
    return str(path)


def test_a_model_that_takes_higher_for_farther_is_shown_wrong_and_measurement_right(contrary: Rendering) -> None:
    comparison = compared(contrary, expected=("far",))
    measured, model = comparison.rows
    assert (measured.by, measured.chosen_id, measured.status, measured.right) == ("measurement", "far", Status.OK, True)
    assert (model.by, model.chosen_id, model.agrees, model.right) == ("model", "near", False, False)
    pairs = {(one.target_id, one.anchor_id): n for n, one in enumerate(comparison.relations)}
    far, near = pairs["far", "cup"], pairs["near", "cup"]
    assert [measured.opinions[n].p for n in (far, near)] == [pytest.approx(1.0, abs=0.05), pytest.approx(0.0, abs=0.05)]
    assert [model.opinions[n].p for n in (far, near)] == [pytest.approx(0.05), pytest.approx(0.95)]
    assert model.opinions[far].consistent is True
    assert (model.share or 0.0) == pytest.approx(0.95)


def test_a_calibration_that_tells_nothing_changes_nothing(contrary: Rendering, tmp_path: Path) -> None:
    file = calibration(tmp_path / "judge.json", behind={**GOOD, "slope": 0.05})
    measured, model, fused = compared(contrary, made=plan(calibrations=[file])).rows
    assert (fused.chosen_id, fused.status, fused.effect) == ("far", Status.OK, "reported")
    assert [one.p for one in fused.opinions] == [one.p for one in measured.opinions]
    assert "two standard errors" in fused.reason
    assert model.chosen_id == "near"


def test_calibrated_on_usual_pairs_it_may_cost_an_answer_but_turns_none(contrary: Rendering, tmp_path: Path) -> None:
    file = calibration(tmp_path / "judge.json", behind=GOOD)
    made = plan("higher=compared_backends:HigherIsFarther sure=0.9999999", calibrations=[f"higher={file}"])
    (fused,) = [row for row in compared(contrary, made=made).rows if row.by == "fused"]
    assert fused.chosen_id in (None, "far")
    assert fused.effect in ("reported", "doubted", "disagreed")


def test_a_model_that_is_right_agrees_and_confirms(usual: Rendering, tmp_path: Path) -> None:
    file = calibration(tmp_path / "judge.json", behind=GOOD)
    _, model, fused = compared(usual, made=plan(calibrations=[file]), expected=("far",)).rows
    assert (model.chosen_id, model.agrees, model.right) == ("far", True, True)
    assert (fused.by, fused.chosen_id, fused.effect, fused.right) == ("fused", "far", "confirmed", True)


def test_fusing_is_the_resolvers_own(usual: Rendering, tmp_path: Path) -> None:
    file = calibration(tmp_path / "judge.json", behind={**GOOD, "slope": 0.5, "offset": -0.3})
    comparison = compared(usual, made=plan(calibrations=[file]))
    config = config_from({"judge": {"mode": "fuse", "calibration": file}})
    answer = Resolver(config, HigherIsFarther()).resolve(usual.frame, BEHIND, usual.detections)
    model, fused = comparison.rows[1:]
    opinions = [(one.p, one.calibrated) for one in model.opinions]
    assert [(one.raw_p, one.model_p) for one in answer.judge.relations] == opinions
    assert (answer.judge.effect, answer.judge.reason) == (fused.effect, fused.reason)
    state = {one.id: one.clauses[0].likelihood for one in answer.candidates}
    at = {relation.target_id: one.p for relation, one in zip(comparison.relations, fused.opinions, strict=True)}
    assert at == {id_: pytest.approx(p) for id_, p in state.items()}


def test_all_candidates_are_asked_about_whatever_the_mode(tabletop: Tabletop) -> None:
    cans = [tabletop.can(f"c{n}", -0.3 + 0.12 * n, 0.15 if n % 2 else -0.2) for n in range(6)]
    seen = tabletop.see(tabletop.cup("cup", 0, 0), *cans)
    for mode in ("off", "report"):
        config = config_from({"judge": {"mode": mode}})
        comparison = compared(seen, "the can left of the cup", config=config)
        candidates = {one.id for one in comparison.objects if one.role == "candidate"}
        assert candidates == {one.target_id for one in comparison.relations} == {f"c{n}" for n in range(6)}
        assert comparison.rows[1].questions == 6
        assert not comparison.reason


def test_not_more_is_asked_than_allowed_and_what_is_left_out_is_told(usual: Rendering) -> None:
    comparison = compared(usual, made=plan(most=1))
    assert len(comparison.relations) == len(comparison.rows[1].opinions) == 1
    assert comparison.reason.startswith("1 of 2 relations")
    assert comparison.rows[1].chosen_id in (None, comparison.relations[0].target_id)


def test_a_denied_relation_counts_the_other_way_round(usual: Rendering) -> None:
    comparison = compared(usual, "the can that is not behind the cup")
    assert all(one.negated for one in comparison.relations)
    assert [row.chosen_id for row in comparison.rows] == ["near", "near"]
    at = {one.target_id: n for n, one in enumerate(comparison.relations)}
    assert (comparison.rows[0].opinions[at["far"]].p or 0.0) > 0.9
    assert comparison.rows[1].opinions[at["far"]].p == pytest.approx(0.95)


def test_relations_of_anchors_count_for_every_candidate(tabletop: Tabletop) -> None:
    cans = (tabletop.can("near", -0.1, -0.2), tabletop.can("far", 0.1, 0.2))
    seen = tabletop.see(tabletop.cup("cup", 0, 0), tabletop.block("block", 0.25, 0), *cans)
    comparison = compared(seen, "the can behind the cup left of the block")
    assert ("left of", "cup", "block") in {(o.relation, o.target_id, o.anchor_id) for o in comparison.relations}
    assert comparison.rows[1].chosen_id == "far"
    assert comparison.unasked == compared(seen).unasked == ()
    told = {"the nearest can in front of the cup": "nearest", "the can behind the leftmost cup": "leftmost"}
    for words, part in told.items():
        assert compared(seen, words).unasked == (part,)


@pytest.mark.parametrize(("words", "roll_deg", "reason"), TABLES["nothing to compare"])
def test_where_nothing_can_be_compared_the_reason_is_told_and_no_model_is_loaded(
    tabletop: Tabletop, words: str, roll_deg: float, reason: str
) -> None:
    cans = (tabletop.can("near", -0.1, -0.2), tabletop.can("far", 0.1, 0.2))
    compared_backends.LOADED.clear()
    comparison = compared(tabletop.see(tabletop.cup("cup", 0, 0), *cans, roll_deg=roll_deg), words)
    assert [row.by for row in comparison.rows] == ["measurement"]
    assert not comparison.relations
    assert any(each in comparison.reason for each in reason.split("|"))
    assert compared_backends.LOADED == []


@pytest.mark.parametrize(("name", "words", "opinions", "reason"), TABLES["chooses nothing"])
def test_a_model_that_tells_no_candidate_from_the_others_chooses_nothing(
    usual: Rendering, name: str, words: str, opinions: list[Any] | None, reason: str
) -> None:
    model = compared(usual, words, plan(f"compared_backends:{name}")).rows[1]
    assert (model.chosen_id, model.reason) == (None, reason)
    assert opinions is None or [[one.p, one.consistent] for one in model.opinions] == opinions
    assert opinions is None or model.questions == 4  # of each relation both orders


def test_a_budget_that_is_used_up_is_no_contradiction(usual: Rendering, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(self: object, rgb: object, questions: Sequence[object], budget_s: float) -> tuple[None, ...]:  # noqa: ARG001
        time.sleep(budget_s)
        return (None,) * len(questions)

    monkeypatch.setattr(HigherIsFarther, "judge", slow)
    model = compared(usual, made=plan(budget_s=0.1)).rows[1]
    assert [(one.p, one.consistent) for one in model.opinions] == [(None, None)] * 2


@pytest.mark.parametrize(("broken", "said"), [("Breaks", "out of memory"), ("broken", "damaged")])
def test_a_model_that_fails_costs_its_own_rows(usual: Rendering, broken: str, said: str) -> None:
    made = plan(f"bad=compared_backends:{broken}", HIGHER, remedies=("sure=0.7",))
    _, bad, good, remedied = compared(usual, made=made).rows
    assert (bad.failed, bad.opinions, bad.chosen_id) == (True, (), None)
    assert said in bad.reason
    assert (good.name, good.chosen_id, remedied.chosen_id) == ("higher", "far", "far")


def test_remedies_are_options_and_one_that_is_not_taken_is_told(usual: Rendering, tmp_path: Path) -> None:
    told: list[str] = []
    file = calibration(tmp_path / "judge.json", behind=GOOD)
    made = plan(calibrations=[file], remedies=("sure=0.6", "attention=1.2"), told=told.append)
    compared_backends.LOADED.clear()
    rows = compared(usual, made=made).rows
    assert [(row.by, row.options) for row in rows] == [
        ("measurement", ""), ("model", ""), ("fused", ""), ("remedy", "sure=0.6"), ("remedy", "attention=1.2"),
    ]  # fmt: skip
    assert sorted(one.p or 0.0 for one in rows[3].opinions) == [pytest.approx(0.4), pytest.approx(0.6)]
    assert [one.calibrated for one in rows[3].opinions] == [None, None]  # the calibration is of the model without it
    assert rows[4].failed
    assert "attention" in rows[4].reason
    assert compared_backends.LOADED == ["HigherIsFarther"] * 2
    assert "loading higher with sure=0.6" in told


def test_a_judge_of_simulated_images_says_nothing_of_photographs(usual: Rendering) -> None:
    photograph = dataclasses.replace(usual, frame=dataclasses.replace(usual.frame, domain="real"))
    measured, model = compared(photograph, made=plan("compared_backends:Simulated")).rows
    assert (measured.chosen_id, model.opinions, model.failed) == ("far", (), False)
    assert "simulated" in model.reason


def test_a_grounder_finds_the_objects() -> None:
    frame, _ = chicks_and_cup_frame()
    made, finder = plan(), compared_backends.Finds()
    found = compare_sentence(frame, None, "the chick behind the cup", made, ResolverConfig(), finder)
    assert found.comparison.rows[0].chosen_id == "bonnet"
    assert {d.id for d in found.answered.detections} >= {"bonnet", "ribbon", "cup"}


def test_models_as_they_are_written(tmp_path: Path) -> None:
    models = ["small=server model=2", "qwen-vl model='/m/a b' attention=1.2"]
    first, second = judges_of(models, [f"qwen-vl={tmp_path}/a=b.json"])
    assert (first.name, first.backend, dict(first.options)) == ("small", "server", {"model": "2"})
    assert first.calibration is None
    assert second.name == second.backend == "qwen-vl"
    assert dict(second.options) == {"model": "/m/a b", "attention": "1.2"}
    assert second.calibration == tmp_path / "a=b.json"
    remedied = second.with_remedy("attention=2 positions=axial")
    assert dict(remedied.options) == {"model": "/m/a b", "attention": "2", "positions": "axial"}
    assert remedied.calibration is None


@pytest.mark.parametrize(("judges", "calibrations", "said"), TABLES["wrong models"])
def test_models_that_are_written_wrongly_are_refused(judges: list[str], calibrations: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        judges_of(judges, calibrations)


@pytest.mark.parametrize(("words", "judge", "error", "said"), TABLES["refused"])
def test_words_that_mean_no_single_object_and_models_that_cannot_judge_are_refused(
    usual: Rendering, words: str, judge: str, error: str, said: str
) -> None:
    with pytest.raises(getattr(errors, error), match=said or None):
        compared(usual, words, plan(judge))


def test_a_calibration_that_cannot_be_read_is_refused_before_a_model_loads(usual: Rendering, tmp_path: Path) -> None:
    compared_backends.LOADED.clear()
    made = ComparisonPlan((ModelSpec("m", "compared_backends:HigherIsFarther", {}, tmp_path / "none.json"),))
    with pytest.raises(FileError):
        compared(usual, made=made)
    assert compared_backends.LOADED == []


def test_what_is_right_comes_from_the_case_beside_the_frame(tmp_path: Path, usual: Rendering) -> None:
    folder = write_frame(tmp_path / "f0", usual.frame, usual.detections)
    assert expected_of(folder, BEHIND) is None
    write_cases(
        tmp_path, [case("f1", BEHIND, "near"), case("f0", BEHIND, "far"), case("f0", "the can", status="AMBIGUOUS"),
                   case("f0", "a can", status="OK", id="near", id_also=["far"])],
    )  # fmt: skip
    assert expected_of(folder, "The can  behind the cup") == ("far",)
    assert expected_of(folder, "the can") == ()
    assert expected_of(folder, "a can") == ("near", "far")
    assert expected_of(folder, "the cup") is None
