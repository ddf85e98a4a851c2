# SPDX-License-Identifier: Apache-2.0
"""The folder of evidence, and from a decision in the field to a test that `evaluate` runs."""

import json
import os
import signal
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runs import ended, objects, run
from click.testing import Result
from evidence_desk import DETECTIONS, EvidenceDesk, OddNames
from tables import tables
from waiting import DEADLINE

from spatial_vlm_lab.scoring import bundle_cases as cases
from spatial_vlm_ros.cli.group import read_settings
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.recording.evidence.bundle import NAME, EvidenceStore, bundles_in, evidence_folder, hash_of
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.types import Status

pytest.importorskip("rosbags")

T0 = 1_700_000_000.25
HERE = Path(__file__).parent


def writes(size: int) -> Callable[[Path], Path]:
    def write(out: Path) -> Path:
        out.mkdir()
        file = out / "bundle.mcap"
        file.write_bytes(os.urandom(size))
        return file

    return write


def test_a_bundle_is_named_by_time_status_and_content_and_readable_by_its_owner_only(tmp_path: Path) -> None:
    folder, seen = tmp_path / "a" / "evidence", list[Path]()

    def write(out: Path) -> Path:
        assert stat.S_IMODE(out.parent.stat().st_mode) == 0o700  # also while it is written
        seen.append(writes(1000)(out))
        return seen[0]

    path = EvidenceStore(folder, 10**6, 10).keep("NOT_FOUND", T0, write)
    assert NAME.fullmatch(path.name)
    assert not NAME.fullmatch(seen[0].name)
    assert path.name.startswith("20231114T221320.250000Z_NOT_FOUND_")
    assert path.stem[-8:] == hash_of(path)[:8]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert list(folder.iterdir()) == [path]


def test_the_default_folder_is_that_of_the_users_state(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    assert evidence_folder("") == tmp_path / "spatial_vlm_ros" / "evidence"
    monkeypatch.delenv("XDG_STATE_HOME")
    assert evidence_folder("") == Path.home() / ".local" / "state" / "spatial_vlm_ros" / "evidence"
    assert evidence_folder("~/x") == Path.home() / "x"


def test_the_oldest_bundles_go_first_and_the_caps_hold_at_all_times(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path, most_bytes=5000, most_files=4)
    sizes = [900, 900, 900, 900, 900, 3000, 100, 4900]
    kept: list[Path] = []
    for n, size in enumerate(sizes):
        kept.append(store.keep("OK", T0 + n, writes(size)))
        there = bundles_in(tmp_path)
        assert there == kept[-len(there) :]  # the newest, in the order in which they came
        assert len(there) <= 4
        assert sum(path.stat().st_size for path in there) <= 5000
    assert bundles_in(tmp_path) == kept[-2:]


def test_a_bundle_that_is_larger_than_the_cap_removes_none_and_other_files_are_left_alone(tmp_path: Path) -> None:
    mine = tmp_path / "recording.mcap"
    mine.write_bytes(bytes(100_000))
    store = EvidenceStore(tmp_path, most_bytes=5000, most_files=1)
    for n in range(3):
        last = store.keep("OK", T0 + n, writes(1000))
    with pytest.raises(FileError, match=r"a bundle of 5001 bytes.*Raise evidence.most_bytes"):
        store.keep("OK", T0 + 3, writes(5001))
    assert bundles_in(tmp_path) == [last]
    assert sorted(tmp_path.iterdir()) == sorted([mine, last])
    assert mine.stat().st_size == 100_000


def test_two_nodes_that_share_a_folder_keep_the_caps_together_and_each_others_work(tmp_path: Path) -> None:
    busy = tmp_path / ".20231114T221320.250000Z_1_1.part"
    busy.mkdir()
    stores = [EvidenceStore(tmp_path, 10**6, 3), EvidenceStore(tmp_path, 10**6, 3)]
    for n in range(6):
        stores[n % 2].keep("OK", T0 + n, writes(10))
    assert len(bundles_in(tmp_path)) == 3
    assert busy.exists()


def test_what_fails_while_it_is_written_leaves_nothing(tmp_path: Path) -> None:
    def broken(out: Path) -> Path:
        writes(10)(out)
        raise OSError(5, "Input/output error")

    with pytest.raises(FileError, match="Input/output error"):
        EvidenceStore(tmp_path, 10**6, 10).keep("OK", T0, broken)
    assert list(tmp_path.iterdir()) == []


KILLED = """
import time
from pathlib import Path
from evidence_desk import EvidenceDesk
import spatial_vlm_ros.recording.evidence.bundle as store

def waits(self, target):
    print("written", flush=True)
    time.sleep(600)

store.Path.rename = waits
desk = EvidenceDesk(Path(%r)).standing()
desk.answered("the chick")
desk.end()
"""


@pytest.mark.live
def test_a_node_that_is_killed_before_the_rename_leaves_no_bundle(tmp_path: Path) -> None:
    whole = EvidenceStore(tmp_path, 10**9, 10).keep("OK", T0, writes(10))
    paths = os.pathsep.join([str(HERE), str(HERE.parent), str(HERE.parents[1])])  # has the helpers of this folder
    environment, code = {**os.environ, "PYTHONPATH": paths}, KILLED % str(tmp_path)
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, env=environment) as killed:
        assert killed.stdout.readline() == "written\n"
        killed.send_signal(signal.SIGKILL)
        killed.wait(DEADLINE)
    assert bundles_in(tmp_path) == [whole]
    (left,) = [path for path in tmp_path.iterdir() if path != whole]
    assert left.name.startswith(".")
    assert list(left.rglob("*.mcap"))  # it was whole, and has no name of a bundle
    os.utime(left, (T0, T0))  # long ago
    EvidenceStore(tmp_path, 10**9, 10).keep("OK", T0 + 1, writes(10))
    assert not left.exists()
    assert len(bundles_in(tmp_path)) == 2


def keep(*arguments: str | Path, out: Path) -> Result:
    return run("evidence", "keep-as-test", *arguments, "--out", out)


def one_kept(folder: Path, words: str = "the chick behind the cup", asked: str = "", **desk: Any) -> Path:
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
    one, two, three = objects(run("evidence", "list", kept[0].parent, "--json"))
    assert (one["status"], one["id"], one["frame"]) == ("OK", "bonnet", "answered")
    assert {c["id"] for c in two["candidates"]} == {"bonnet", "ribbon"}
    assert (three["status"], three["frame"]) == ("NOT_UNDERSTOOD", "newest")
    assert run("evidence", "list", tmp_path).stdout.startswith("0 bundles")
    missing = ended("evidence", "list", tmp_path / "none", code=3)
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
    refused = ended("evaluate", "--frames", out, code=1)
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


@pytest.mark.parametrize(("which", "options", "code", "words"), tables(__file__)["options"])
def test_options_and_ids_that_do_not_fit_are_named(
    kept: list[Path], tmp_path: Path, which: list[int], options: Any, code: int, words: list[str]
) -> None:
    done = keep(*(kept[n] for n in which), *options, out=tmp_path / "f")
    assert done.exit_code == code
    assert all(word in done.output for word in words), done.output
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
    desk = EvidenceDesk(tmp_path_factory.mktemp("answers")).standing()
    desk.answered("is the box left of the cup")
    desk.answered("how far is the box from the cup")
    desk.answered("put the box next to the cup")
    return desk.end()


def test_a_kept_answer_is_kept_with_its_value_and_its_place(answers: list[Path], tmp_path: Path) -> None:
    out = tmp_path / "field"
    done = keep(*answers, "--as-answered", "--json", out=out)
    assert [line["right"] for line in objects(done)] == [True, True, True], done.output
    written = [json.loads(line) for line in (out / "cases.jsonl").read_text().splitlines()]
    polar, metres, put = (case["expect"] for case in written)
    assert polar["answer"]["value"] in ("yes", "no")
    assert polar["answer"]["ids"] == ["box"]
    assert metres["answer"]["value"] > metres["answer"]["tolerance"] > 0
    assert (put["id"], put["place"]["relation"], put["place"]["anchor_id"]) == ("box", "next to", "cup")
    scored = ("evaluate", "--frames", out, "--config", out / "resolver.yaml", "--junit", tmp_path / "j.xml")
    baseline = tmp_path / "scores.json"
    ended(*scored, "--out", baseline)
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
    for line, status in zip(objects(done), ("OK", "AMBIGUOUS", "NOT_UNDERSTOOD"), strict=True):
        assert (line["then"], line["now"], line["right"]) == (status, status, True)
    monkeypatch.setattr(cases, "keep_as_test", only_the_first)
    assert keep(*kept, "--as-answered", out=out).exit_code == 3
    assert run("evaluate", "--frames", out, "--config", out / "resolver.yaml").exit_code == 0
