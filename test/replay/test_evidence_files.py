# SPDX-License-Identifier: Apache-2.0
"""`spatial-vlm doctor --bag` on evidence bundles: compressed MCAP whose every byte is covered by a checksum."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

pytest.importorskip("rosbags")

from click.testing import CliRunner
from evidence_desk import EvidenceDesk

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.evaluation.bags.check import examine_files
from spatial_vlm_ros.evaluation.frame_doctor import Severity

WORDS = "pick the chick behind the cup"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    desk = EvidenceDesk(tmp_path_factory.mktemp("kept")).standing()
    desk.answered(WORDS)
    (path,) = desk.end()
    return path


def test_a_compressed_bundle_is_sound_and_its_frame_is_examined_as_it_was_answered(
    bundle: Path, tmp_path: Path
) -> None:
    assert b"zstd" in bundle.read_bytes()[:2000]
    assert [(one.level, one.repair) for one in examine_files(bundle)] == [(Severity.OK, "")]
    told = CliRunner().invoke(main, ["doctor", "--bag", str(bundle)])
    assert told.exit_code == 0, told.output  # not by the default base frame: by that of the decision
    assert "with the right CRC" in told.output
    assert " Hz" not in told.output  # one frame has no rate
    other = CliRunner().invoke(main, ["doctor", "--bag", str(bundle), "--base-frame", "nowhere"])
    assert "not checked" in other.output
    assert "nowhere" in other.output
    desk = EvidenceDesk(tmp_path)
    desk.ask(WORDS)
    desk.now_ns += 10**10
    desk.queue.step()
    desk.until(lambda: desk.replies)
    (path,) = desk.end()  # without a frame
    told = CliRunner().invoke(main, ["doctor", "--bag", str(path)])
    assert told.exit_code == 0, told.output
    assert "not checked" in told.output


def test_a_flipped_bit_anywhere_in_a_compressed_bundle_is_an_error(bundle: Path, tmp_path: Path) -> None:
    whole, rng, copy = bundle.read_bytes(), random.Random(3), tmp_path / "copy.mcap"
    places = [*range(12), *rng.sample(range(len(whole)), 30), *range(len(whole) - 12, len(whole))]
    for at in places:
        copy.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << rng.randrange(8)]) + whole[at + 1 :])
        assert any(one.level is Severity.ERROR for one in examine_files(copy)), at
    at = len(whole) // 2
    copy.write_bytes(whole[:at] + bytes([whole[at] ^ 4]) + whole[at + 1 :])
    told = CliRunner().invoke(main, ["doctor", "--bag", str(copy)])
    assert told.exit_code == 3
    assert "its CRC is wrong" in " ".join(told.output.split())
