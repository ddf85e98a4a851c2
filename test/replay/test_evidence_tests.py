# SPDX-License-Identifier: Apache-2.0
"""From a decision in the field to a test that `evaluate` runs: two commands."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner, Result
from evidence_desk import DETECTIONS, EvidenceDesk, OddNames

from spatial_vlm_ros.cli.group import read_settings
from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.frame_folder import load_cases, load_frame
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.types import Status


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A right answer, a refusal and words that nobody understands."""
    folder = tmp_path_factory.mktemp("kept")
    desk = EvidenceDesk(folder).standing()
    desk.answered("the chick behind the cup")
    desk.answered("the chick")
    desk.frame()
    desk.ask("flurb wug the the")
    return desk.end()


def test_bundles_are_listed_with_time_status_words_and_reason(kept: list[Path]) -> None:
    done = run("evidence", "list", kept[0].parent)
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert "OK" in lines[0]
    assert "'the chick behind the cup'" in lines[0]
    assert str(kept[0]) in lines[1]
    assert "AMBIGUOUS" in lines[2]
    assert "NOT_UNDERSTOOD" in lines[4]
    assert lines[-1].startswith("3 bundles, ")
    one, two, three = (
        json.loads(line) for line in run("evidence", "list", kept[0].parent, "--json").stdout.splitlines()
    )
    assert (one["status"], one["id"], one["frame"]) == ("OK", "bonnet", "answered")
    assert {c["id"] for c in two["candidates"]} == {"bonnet", "ribbon"}
    assert (three["status"], three["frame"]) == ("NOT_UNDERSTOOD", "newest")


def test_a_field_failure_is_a_failing_test_after_two_commands(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    done = run("evidence", "keep-as-test", kept[1], "--out", out, "--id", "ribbon")
    assert done.exit_code == 0, done.output
    assert "AMBIGUOUS then, AMBIGUOUS now: fails" in done.stdout
    assert "spatial-vlm evaluate --frames" in done.stderr
    scored = json.loads(run("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--json").stdout)
    case = load_cases(out)[0]
    assert case.expect is not None
    assert (case.instruction, case.expect.status, case.expect.id) == ("the chick", Status.OK, "ribbon")
    assert json.dumps(scored).count("AMBIGUOUS") >= 1


def test_what_was_answered_rightly_stays_so(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    done = run("evidence", "keep-as-test", *kept, "--out", out, "--as-answered", "--json")
    assert done.exit_code == 0, done.output
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["then"], line["now"], line["right"]) for line in said] == [
        ("OK", "OK", True),
        ("AMBIGUOUS", "AMBIGUOUS", True),
        ("NOT_UNDERSTOOD", "NOT_UNDERSTOOD", True),
    ]
    baseline = tmp_path / "scores.json"
    config = ("--config", out / "resolver.yaml")
    first = run("evaluate", "--frames", out, *config, "--out", baseline)
    assert first.exit_code == 0, first.output
    again = run("evaluate", "--frames", out, *config, "--baseline", baseline, "--junit", tmp_path / "j.xml")
    assert again.exit_code == 0, again.output
    assert 'failures="0"' in (tmp_path / "j.xml").read_text()


def test_the_frame_is_as_it_was_seen(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    run("evidence", "keep-as-test", kept[0], "--out", out)
    frame, detections = load_frame(out / kept[0].stem)
    assert {d.id for d in detections} == {d.id for d in DETECTIONS}
    assert all(d.mask is not None for d in detections)
    assert frame.base_T_camera is not None
    assert frame.base_T_camera.parent == "world"
    (case,) = load_cases(out)
    assert case.expect is None
    refused = run("evaluate", "--frames", out)
    assert refused.exit_code == 1
    assert '"expect"' in refused.stderr


def test_a_bundle_is_kept_once_and_earlier_cases_stay(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    assert run("evidence", "keep-as-test", kept[0], "--out", out, "--as-answered").exit_code == 0
    before = (out / "cases.jsonl").read_bytes()
    again = run("evidence", "keep-as-test", kept[0], "--out", out, "--as-answered")
    assert again.exit_code == 3
    assert "already a case" in again.stderr
    assert (out / "cases.jsonl").read_bytes() == before
    assert run("evidence", "keep-as-test", kept[1], "--out", out, "--status", "AMBIGUOUS").exit_code == 0
    assert [case.frame for case in load_cases(out)] == [kept[0].stem, kept[1].stem]


def test_a_damaged_list_of_cases_is_left_as_it_is(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    out.mkdir()
    (out / "cases.jsonl").write_text('{"frame": 3}\n')
    done = run("evidence", "keep-as-test", kept[0], "--out", out, "--as-answered")
    assert done.exit_code == 3
    assert "cases.jsonl" in done.stderr
    assert (out / "cases.jsonl").read_text() == '{"frame": 3}\n'
    assert [path.name for path in out.iterdir()] == ["cases.jsonl"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--as-answered", "--id", "d1"), "omit --status and --id"),
        (("--status", "NOT_FOUND", "--id", "cup"), "--id names the object of an OK answer, but --status is NOT_FOUND"),
        (("--status", "FINE"), "unknown status 'FINE'. Choose one of: OK, ANSWERED"),
    ],
)
def test_options_that_do_not_fit_are_named(
    kept: list[Path], tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    done = run("evidence", "keep-as-test", kept[0], "--out", tmp_path / "f", *options)
    assert done.exit_code == 2
    assert words in done.output


def test_an_id_that_the_frame_does_not_have_lists_those_it_has(kept: list[Path], tmp_path: Path) -> None:
    done = run("evidence", "keep-as-test", kept[1], "--out", tmp_path / "f", "--id", "d9")
    assert done.exit_code == 3
    assert "'d9'" in done.stderr
    assert "bonnet, ribbon, cup, box" in done.stderr
    assert not (tmp_path / "f").exists()
    several = run("evidence", "keep-as-test", *kept, "--out", tmp_path / "f", "--id", "cup")
    assert several.exit_code == 2


def test_answers_within_a_dialogue_are_replayed_and_make_no_case(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path / "kept").standing()
    first = desk.answered("the chick")
    assert first.dialogue_id is not None
    desk.answered("the bonnet one", dialogue_id=first.dialogue_id)
    _, path = desk.end()
    done = run("evidence", "keep-as-test", path, "--out", tmp_path / "f", "--as-answered")
    assert done.exit_code == 3
    assert "dialogue" in done.stderr


def test_a_case_that_a_model_decided_says_what_labels_alone_give(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path / "kept", grounder=OddNames()).standing()
    desk.answered("the chick behind the cup")
    (path,) = desk.end()
    done = run("evidence", "keep-as-test", path, "--out", tmp_path / "f", "--as-answered")
    assert "OK then, NOT_FOUND now: fails" in done.stdout


def test_a_frame_of_reference_of_the_request_is_a_parameter_of_the_test(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path / "kept").standing()
    live = desk.answered("the chick behind the cup", frame_of_reference="world")
    (path,) = desk.end()
    out = tmp_path / "f"
    done = run("evidence", "keep-as-test", path, "--out", out, "--as-answered", "--json")
    assert json.loads(done.stdout)["now"] == live.status.value
    assert 'frame_of_reference: "world"' in (out / "resolver.yaml").read_text()


def test_the_parameters_of_then_are_read_back_from_the_file_as_they_were(tmp_path: Path) -> None:
    resolver = config_from({"decision": {"holds": 0.8}, "depth": {"noise_quadratic": 1e-05}})
    desk = EvidenceDesk(tmp_path / "kept", resolver=resolver).standing()
    desk.answered("the chick behind the cup")
    (path,) = desk.end()
    out = tmp_path / "f"
    assert run("evidence", "keep-as-test", path, "--out", out, "--as-answered").exit_code == 0
    assert read_settings(out / "resolver.yaml").resolver == resolver


def test_bundles_of_other_parameters_are_named(tmp_path: Path, kept: list[Path]) -> None:
    desk = EvidenceDesk(tmp_path / "kept", resolver=config_from({"decision": {"holds": 0.8}})).standing()
    desk.answered("the chick")
    (path,) = desk.end()
    done = run("evidence", "keep-as-test", kept[0], path, "--out", tmp_path / "f", "--as-answered")
    assert "the bundles differ in decision" in done.stderr


def test_an_empty_or_missing_folder_is_told(tmp_path: Path) -> None:
    assert run("evidence", "list", tmp_path).stdout.startswith("0 bundles")
    missing = run("evidence", "list", tmp_path / "none")
    assert missing.exit_code == 3
    assert "evidence.folder" in missing.stderr


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A yes, a distance and a place."""
    desk = EvidenceDesk(tmp_path_factory.mktemp("answers")).standing()
    desk.answered("is the box left of the cup")
    desk.answered("how far is the box from the cup")
    desk.answered("put the box next to the cup")
    return desk.end()


def test_a_kept_answer_is_kept_with_its_value_and_its_place(answers: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    done = run("evidence", "keep-as-test", *answers, "--out", out, "--as-answered", "--json")
    assert [json.loads(line)["right"] for line in done.stdout.splitlines()] == [True, True, True], done.output
    polar, metres, put = (json.loads(line)["expect"] for line in (out / "cases.jsonl").read_text().splitlines())
    assert polar["answer"]["value"] in ("yes", "no")
    assert polar["answer"]["ids"] == ["box"]
    assert metres["answer"]["value"] > metres["answer"]["tolerance"] > 0
    assert (put["id"], put["place"]["relation"], put["place"]["anchor_id"]) == ("box", "next to", "cup")
    run("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--junit", tmp_path / "first.xml")
    assert 'tests="3" errors="0" failures="0"' in (tmp_path / "first.xml").read_text()
    cases = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    cases[0]["expect"]["answer"]["value"] = "no" if polar["answer"]["value"] == "yes" else "yes"
    (out / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in cases))
    run("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--junit", tmp_path / "j.xml")
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()


def test_cases_that_expect_nothing_are_said_where_others_are_scored(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    assert run("evidence", "keep-as-test", kept[0], "--out", out, "--as-answered").exit_code == 0
    assert run("evidence", "keep-as-test", kept[1], "--out", out).exit_code == 0
    done = run("evaluate", "--frames", out)
    assert '1 case does not say what to expect and did not count: add "expect"' in " ".join(done.stdout.split())
    notes = json.loads(run("evaluate", "--frames", out, "--json").stdout)["notes"]
    assert len(notes) == 1


def test_of_several_bundles_none_is_written_where_one_can_be_no_case(kept: list[Path], tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path / "kept").standing()
    first = desk.answered("the chick")
    desk.answered("the bonnet one", dialogue_id=first.dialogue_id)
    _, within = desk.end()
    out = tmp_path / "field"
    done = run("evidence", "keep-as-test", kept[0], within, "--out", out, "--as-answered")
    assert done.exit_code == 3
    assert "dialogue" in done.stderr
    assert not out.exists()


def test_parameters_are_there_for_the_cases_that_were_written_before_a_fault(
    kept: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from spatial_vlm_ros.evaluation.evidence import cases

    keep, out = cases.keep_as_test, tmp_path / "field"

    def only_the_first(bundle: Any, *rest: Any) -> Any:
        if bundle.path != kept[0]:
            raise FileError(out, "No space left on device", "make room")
        return keep(bundle, *rest)

    monkeypatch.setattr(cases, "keep_as_test", only_the_first)
    assert run("evidence", "keep-as-test", *kept, "--out", out, "--as-answered").exit_code == 3
    assert run("evaluate", "--frames", out, "--config", out / "resolver.yaml").exit_code == 0


def test_a_bundle_of_another_name_is_not_passed_over_in_silence(kept: list[Path], tmp_path: Path) -> None:
    (tmp_path / kept[0].name).write_bytes(kept[0].read_bytes())
    (tmp_path / "from_the_robot.mcap").write_bytes(kept[1].read_bytes())
    done = run("evidence", "list", tmp_path)
    assert done.stdout.splitlines()[-1].startswith("1 bundle, ")
    assert "not shown: 1 .mcap files that are not named like bundles" in done.stderr
    assert run("evidence", "list", kept[0].parent).stderr == ""
