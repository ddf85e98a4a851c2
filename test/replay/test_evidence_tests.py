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
from spatial_vlm_ros.evaluation.evidence import cases
from spatial_vlm_ros.evaluation.frame_folder import load_cases, load_frame
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.types import Status


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def keep(*arguments: str | Path, out: Path) -> Result:
    return run("evidence", "keep-as-test", *arguments, "--out", out)


def one_kept(folder: Path, words: str = "the chick behind the cup", asked: str = "", **desk: Any) -> Path:
    """A bundle of its own."""
    made = EvidenceDesk(folder / "kept", **desk).standing()
    made.answered(words, frame_of_reference=asked)
    (path,) = made.end()
    return path


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


def test_bundles_are_listed_with_time_status_words_and_reason(kept: list[Path], tmp_path: Path) -> None:
    done = run("evidence", "list", kept[0].parent)
    assert (done.exit_code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "OK" in lines[0]
    assert "'the chick behind the cup'" in lines[0]
    assert str(kept[0]) in lines[1]
    assert "AMBIGUOUS" in lines[2]
    assert "NOT_UNDERSTOOD" in lines[4]
    assert lines[-1].startswith("3 bundles, ")
    told = run("evidence", "list", kept[0].parent, "--json").stdout.splitlines()
    one, two, three = (json.loads(line) for line in told)
    assert (one["status"], one["id"], one["frame"]) == ("OK", "bonnet", "answered")
    assert {c["id"] for c in two["candidates"]} == {"bonnet", "ribbon"}
    assert (three["status"], three["frame"]) == ("NOT_UNDERSTOOD", "newest")
    assert run("evidence", "list", tmp_path).stdout.startswith("0 bundles")
    missing = run("evidence", "list", tmp_path / "none")
    assert missing.exit_code == 3
    assert "evidence.folder" in missing.stderr
    (tmp_path / kept[0].name).write_bytes(kept[0].read_bytes())
    (tmp_path / "from_the_robot.mcap").write_bytes(kept[1].read_bytes())  # not passed over in silence
    done = run("evidence", "list", tmp_path)
    assert done.stdout.splitlines()[-1].startswith("1 bundle, ")
    assert "not shown: 1 .mcap files that are not named like bundles" in done.stderr


def test_a_field_failure_is_a_failing_test_after_two_commands(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    done = keep(kept[1], "--id", "ribbon", out=out)
    assert done.exit_code == 0, done.output
    assert "AMBIGUOUS then, AMBIGUOUS now: fails" in done.stdout
    assert "spatial-vlm evaluate --frames" in done.stderr
    scored = json.loads(run("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--json").stdout)
    case = load_cases(out)[0]
    assert (case.instruction, case.expect.status, case.expect.id) == ("the chick", Status.OK, "ribbon")
    assert "AMBIGUOUS" in json.dumps(scored)
    assert keep(kept[0], out=out).exit_code == 0  # expects nothing
    done = run("evaluate", "--frames", out)
    assert '1 case does not say what to expect and did not count: add "expect"' in " ".join(done.stdout.split())
    assert len(json.loads(run("evaluate", "--frames", out, "--json").stdout)["notes"]) == 1


def test_the_frame_is_as_it_was_seen(kept: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    keep(kept[0], out=out)
    frame, detections = load_frame(out / kept[0].stem)
    assert {d.id for d in detections} == {d.id for d in DETECTIONS}
    assert all(d.mask is not None for d in detections)
    assert frame.base_T_camera.parent == "world"
    (case,) = load_cases(out)
    assert case.expect is None
    refused = run("evaluate", "--frames", out)
    assert refused.exit_code == 1
    assert '"expect"' in refused.stderr


def test_a_bundle_is_kept_once_and_earlier_cases_stay(kept: list[Path], tmp_path: Path) -> None:
    out, damaged = tmp_path / "field", tmp_path / "damaged"
    assert keep(kept[0], "--as-answered", out=out).exit_code == 0
    before = (out / "cases.jsonl").read_bytes()
    again = keep(kept[0], "--as-answered", out=out)
    assert again.exit_code == 3
    assert "already a case" in again.stderr
    assert (out / "cases.jsonl").read_bytes() == before
    assert keep(kept[1], "--status", "AMBIGUOUS", out=out).exit_code == 0
    assert [case.frame for case in load_cases(out)] == [kept[0].stem, kept[1].stem]
    damaged.mkdir()
    (damaged / "cases.jsonl").write_text('{"frame": 3}\n')
    done = keep(kept[0], "--as-answered", out=damaged)
    assert done.exit_code == 3
    assert "cases.jsonl" in done.stderr
    assert (damaged / "cases.jsonl").read_text() == '{"frame": 3}\n'
    assert [path.name for path in damaged.iterdir()] == ["cases.jsonl"]


@pytest.mark.parametrize(
    ("which", "options", "code", "words"),
    [
        ([0], ("--as-answered", "--id", "d1"), 2, "omit --status and --id"),
        ([0], ("--status", "NOT_FOUND", "--id", "cup"), 2,
         "--id names the object of an OK answer, but --status is NOT_FOUND"),
        ([0], ("--status", "FINE"), 2, "unknown status 'FINE'. Choose one of: OK, ANSWERED"),
        ([0, 1, 2], ("--id", "cup"), 2, ""),
        ([1], ("--id", "d9"), 3, "'d9'"),
        ([1], ("--id", "d9"), 3, "bonnet, ribbon, cup, box"),
    ],
)  # fmt: skip
def test_options_and_ids_that_do_not_fit_are_named(
    kept: list[Path], tmp_path: Path, which: list[int], options: tuple[str, ...], code: int, words: str
) -> None:
    done = keep(*(kept[n] for n in which), *options, out=tmp_path / "f")
    assert done.exit_code == code
    assert words in done.output
    assert not (tmp_path / "f").exists()


def test_what_a_model_or_the_request_decided_and_other_parameters_are_said(kept: list[Path], tmp_path: Path) -> None:
    path = one_kept(tmp_path / "a", grounder=OddNames())
    done = keep(path, "--as-answered", out=tmp_path / "odd")
    assert "OK then, NOT_FOUND now: fails" in done.stdout  # by labels alone
    path = one_kept(tmp_path / "b", asked="world")
    done = keep(path, "--as-answered", "--json", out=tmp_path / "world")
    told = json.loads(done.stdout)
    assert told["now"] == told["then"]
    assert 'frame_of_reference: "world"' in (tmp_path / "world" / "resolver.yaml").read_text()
    resolver = config_from({"decision": {"holds": 0.8}, "depth": {"noise_quadratic": 1e-05}})
    path = one_kept(tmp_path / "c", resolver=resolver)
    assert keep(path, "--as-answered", out=tmp_path / "f").exit_code == 0
    assert read_settings(tmp_path / "f" / "resolver.yaml").resolver == resolver
    done = keep(kept[0], path, "--as-answered", out=tmp_path / "both")
    assert "the bundles differ in decision" in done.stderr


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
    done = keep(*answers, "--as-answered", "--json", out=out)
    assert [json.loads(line)["right"] for line in done.stdout.splitlines()] == [True, True, True], done.output
    written = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    polar, metres, put = (case["expect"] for case in written)
    assert polar["answer"]["value"] in ("yes", "no")
    assert polar["answer"]["ids"] == ["box"]
    assert metres["answer"]["value"] > metres["answer"]["tolerance"] > 0
    assert (put["id"], put["place"]["relation"], put["place"]["anchor_id"]) == ("box", "next to", "cup")
    scored = ("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--junit", tmp_path / "j.xml")
    baseline = tmp_path / "scores.json"
    first = run(*scored, "--out", baseline)
    assert first.exit_code == 0, first.output
    assert 'tests="3" errors="0" failures="0"' in (tmp_path / "j.xml").read_text()
    again = run(*scored, "--force", "--baseline", baseline)  # what was answered rightly stays so
    assert again.exit_code == 0, again.output
    polar["answer"]["value"] = "no" if polar["answer"]["value"] == "yes" else "yes"
    (out / "cases.jsonl").write_text("".join(json.dumps(case) + "\n" for case in written))
    run(*scored, "--force")
    assert 'failures="1"' in (tmp_path / "j.xml").read_text()


def test_of_several_bundles_none_is_written_where_one_can_be_no_case(kept: list[Path], tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path / "kept").standing()
    first = desk.answered("the chick")
    assert first.dialogue_id is not None
    desk.answered("the bonnet one", dialogue_id=first.dialogue_id)
    _, within = desk.end()
    for bundles in ([within], [kept[0], within]):  # an answer within a dialogue
        done = keep(*bundles, "--as-answered", out=tmp_path / "field")
        assert done.exit_code == 3
        assert "dialogue" in done.stderr
        assert not (tmp_path / "field").exists()


def test_parameters_are_there_for_the_cases_that_were_written_before_a_fault(
    kept: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep_as_test, out = cases.keep_as_test, tmp_path / "field"

    def only_the_first(bundle: Any, *rest: Any) -> Any:
        if bundle.path != kept[0]:
            raise FileError(out, "No space left on device", "make room")
        return keep_as_test(bundle, *rest)

    done = keep(*kept, "--as-answered", "--json", out=tmp_path / "all")
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert [(line["then"], line["now"], line["right"]) for line in said] == [
        (status, status, True) for status in ("OK", "AMBIGUOUS", "NOT_UNDERSTOOD")
    ]
    monkeypatch.setattr(cases, "keep_as_test", only_the_first)
    assert keep(*kept, "--as-answered", out=out).exit_code == 3
    assert run("evaluate", "--frames", out, "--config", out / "resolver.yaml").exit_code == 0
