# SPDX-License-Identifier: Apache-2.0
"""Which decisions are kept; that keeping them is never in the way; and damaged bundles."""

from __future__ import annotations

import shutil
import threading
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner, Result
from evidence_desk import EvidenceDesk, OddNames, serialised

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.evaluation.bags.writer import BagWriter
from spatial_vlm_ros.evaluation.evidence.answering import answer_bundle, settings_of_bundle
from spatial_vlm_ros.evaluation.evidence.bundle import read_bundle
from spatial_vlm_ros.nodes.perception.evidence import MOST_WAITING, status_words
from spatial_vlm_ros.parameters import EvidenceConfig, config_from
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.types import Status

WORDS = "the chick behind the cup"


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments])


def test_only_refusals_are_kept_where_that_is_wanted_and_cancelled_ones_never(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path, keep="refused").standing()
    desk.answered(WORDS)
    desk.answered("the chick")
    desk.ask("stop")
    (path,) = desk.end()
    assert "_AMBIGUOUS_" in path.name
    assert [r.status.value for r in desk.replies] == ["OK", "AMBIGUOUS", "CANCELLED"]
    assert EvidenceConfig().keep == "off"
    desk = EvidenceDesk(tmp_path / "none", keep="off").standing()
    desk.answered("the chick")
    assert desk.end() == []
    assert not (tmp_path / "none").exists()


def test_parameters_model_and_versions_are_in_the_record(tmp_path: Path) -> None:
    resolver = config_from({"decision": {"holds": 0.9}})
    desk = EvidenceDesk(tmp_path, resolver=resolver).standing()
    desk.answered(WORDS)
    (path,) = desk.end()
    record = read_bundle(path).record
    assert settings_of_bundle(read_bundle(path)) == desk.settings
    assert {"spatial_vlm_ros", "python", "numpy"} <= set(record.versions)
    assert (record.node, record.model) == ("/resolver", None)


def test_a_disk_that_hangs_holds_up_no_answer_and_what_is_lost_is_counted(tmp_path: Path) -> None:
    go = threading.Event()

    def slow(message: Any) -> tuple[str, bytes]:
        assert go.wait(30.0)
        return serialised(message)

    desk = EvidenceDesk(tmp_path, serialise=slow).standing()
    asked = MOST_WAITING + 4
    for _ in range(asked):
        desk.answered(WORDS)
    state = desk.keeper.state
    assert len(desk.replies) == asked
    assert state.kept == 0
    assert state.dropped >= 3
    assert "faster than the disk" in state.trouble
    assert len(desk.warned) == 1
    go.set()
    assert len(desk.end()) == asked - state.dropped == desk.keeper.state.kept


def test_a_folder_that_cannot_be_written_is_said_once_and_answers_go_on(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("not a folder")
    desk = EvidenceDesk(blocked / "evidence").standing()
    for _ in range(3):
        assert desk.answered(WORDS).status is Status.OK
    desk.keeper.close(30.0)
    assert desk.keeper.state.failed == 3
    (said,) = desk.warned
    assert "requests are still served" in said
    assert str(blocked) in said
    is_well, words, values = status_words(desk.keeper.state, desk.settings.evidence)
    assert (is_well, values["not kept, failed"], values["kept"]) == (False, 3, 0)
    assert str(blocked) in words


def test_a_message_that_cannot_be_serialised_costs_its_bundle_and_a_removed_folder_is_made_again(
    tmp_path: Path,
) -> None:
    def broken(_: Any) -> tuple[str, bytes]:
        raise RuntimeError("no type support")

    desk = EvidenceDesk(tmp_path, serialise=broken).standing()
    assert desk.answered(WORDS).status is Status.OK
    assert desk.end() == []
    assert desk.keeper.state.failed == 1
    assert "no type support" in desk.keeper.state.trouble
    desk = EvidenceDesk(tmp_path / "evidence").standing()
    desk.answered(WORDS)
    desk.until_kept(1)
    shutil.rmtree(tmp_path / "evidence")
    desk.answered(WORDS)
    assert len(desk.end()) == 1
    assert desk.warned == []


def test_a_bundle_takes_no_options_of_other_bags_and_its_hash_tells_damage(tmp_path: Path) -> None:
    desk = EvidenceDesk(tmp_path).standing()
    desk.answered(WORDS)
    (path,) = desk.end()
    for option in (("--every",), ("--at", "1"), ("--rgb", "/x")):
        done = run("replay", path, *option)
        assert done.exit_code == 2
        assert "one frame" in done.output
    data = bytearray(path.read_bytes())
    whole = bytes(data)
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FileError, match="damaged: its SHA-256"):
        read_bundle(path)
    done = run("evidence", "list", tmp_path)
    assert done.exit_code == 1
    assert "damaged" in done.stdout
    path.write_bytes(whole[: len(whole) // 2])  # cut short
    with pytest.raises(FileError, match="damaged"):
        read_bundle(path)
    with pytest.raises(FileError, match="ends before its index"):
        read_bundle(path.rename(tmp_path / "copy.mcap"))
    with BagWriter(tmp_path / "bag") as writer:
        writer.write_instruction("the cup", 1)
    with pytest.raises(FileError, match="not an evidence bundle"):
        read_bundle(tmp_path / "bag")


def test_a_model_that_failed_has_found_nothing_to_replay(tmp_path: Path) -> None:
    class Broken(OddNames):
        def ground(self, *_: Any) -> Any:
            raise RuntimeError("out of memory")

    desk = EvidenceDesk(tmp_path, grounder=Broken()).standing()
    live = desk.answered(WORDS)
    assert live.status is Status.MODEL_ERROR
    (path,) = desk.end()
    bundle = read_bundle(path)
    with pytest.raises(InputError, match="--grounder NAME"):
        answer_bundle(bundle, Resolver(), settings_of_bundle(bundle).streams)
