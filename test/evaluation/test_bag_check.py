# SPDX-License-Identifier: Apache-2.0
"""`doctor --bag`: wrong bits, cut-off files and wrong counts are named, with what can still be read."""

from __future__ import annotations

import json
import random
import sqlite3
import struct
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("rosbags")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from spatial_vlm_ros.cli.main import main
from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.bags.check import examine_files
from spatial_vlm_ros.evaluation.bags.mcap_records import CHUNK, MAGIC, add_checksums, footer, records
from spatial_vlm_ros.evaluation.bags.types import STRING, default_store
from spatial_vlm_ros.evaluation.bags.writer import BagWriter, record
from spatial_vlm_ros.evaluation.frame_doctor import Severity
from spatial_vlm_ros.evaluation.frame_writer import write_frame
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame


@pytest.fixture
def bag(tmp_path: Path) -> Path:
    """Three frames, in chunks of their own."""
    frame, detections = chicks_and_cup_frame()
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(3):
            writer.write_frame(frame, detections, (number + 1) * 1_000_000_000)
    return tmp_path / "bag"


def worst(path: Path) -> Severity:
    levels = [finding.level for finding in examine_files(path)]
    return next(level for level in (Severity.ERROR, Severity.WARNING, Severity.OK) if level in levels)


def texts(folder: Path, storage: str = "mcap", compression: CompressionMode = CompressionMode.NONE) -> Path:
    """A bag as rosbags itself writes it: without checksums."""
    store = default_store()
    writer = Writer(folder, version=8, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/words", STRING, typestore=store)
        for number in range(200):
            message = store.serialize_cdr(store.types[STRING](data=f"word {number}"), STRING)
            writer.write(topic, number + 1, message)
    return folder


def test_a_bag_that_was_recorded_is_whole_and_every_chunk_is_checked(bag: Path) -> None:
    findings = examine_files(bag)
    assert [finding.level for finding in findings] == [Severity.OK, Severity.OK]
    assert "12 messages over 2.0 s" in findings[0].found
    assert "chunks with the right CRC" in findings[0].found
    assert findings[1].found == "12 messages, as in the files"


def test_another_library_agrees_with_the_checksums(bag: Path) -> None:
    reader = pytest.importorskip("mcap.reader")
    with (bag / "bag.mcap").open("rb") as file:
        opened = reader.make_reader(file, validate_crcs=True)
        assert opened.get_summary().statistics.message_count == 12
        assert sum(1 for _ in opened.iter_messages()) == 12
    stream = pytest.importorskip("mcap.stream_reader")
    with (bag / "bag.mcap").open("rb") as file:  # also the CRC of all data
        kinds = [type(one).__name__ for one in stream.StreamReader(file, validate_crcs=True, emit_chunks=False).records]
    assert "DataEnd" in kinds
    assert "Footer" in kinds


def test_every_flipped_bit_is_noticed(bag: Path) -> None:
    file, dice = bag / "bag.mcap", random.Random(0)
    whole = file.read_bytes()
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[dice.randrange(len(damaged))] ^= 1 << dice.randrange(8)
        file.write_bytes(damaged)
        assert worst(bag) is Severity.ERROR


def test_one_wrong_chunk_leaves_the_others_readable(bag: Path) -> None:
    file = bag / "bag.mcap"
    with file.open("rb") as opened:
        chunks = [one for one in records(opened, len(MAGIC), footer(opened)[0].at) if one.kind == CHUNK]
    damaged = bytearray(file.read_bytes())
    damaged[chunks[1].content_at + chunks[1].length // 2] ^= 1
    file.write_bytes(damaged)
    (found, counted) = examine_files(bag)
    assert found.level is Severity.ERROR
    assert f"the chunk at byte {chunks[1].at} cannot be read: its CRC is wrong" in found.found
    assert "Still readable: " in found.found
    assert "Still readable: 0" not in found.found
    assert "mcap recover bag.mcap" in found.repair
    assert counted.level is Severity.ERROR
    assert "listed" in counted.found


@pytest.mark.parametrize("part", [0.001, 0.3, 0.9, 0.9999])
def test_a_file_that_is_cut_off_is_named(part: float, bag: Path) -> None:
    file = bag / "bag.mcap"
    whole = file.read_bytes()
    file.write_bytes(whole[: int(len(whole) * part)])
    found = examine_files(bag)[0]
    assert found.level is Severity.ERROR
    assert "Still readable: " in found.found


def test_chunks_without_a_checksum_are_a_warning_until_they_get_one(tmp_path: Path) -> None:
    for compression in (CompressionMode.NONE, CompressionMode.STORAGE):
        folder = texts(tmp_path / compression.name, compression=compression)
        assert worst(folder) is Severity.WARNING
        assert "have no CRC" in examine_files(folder)[0].found
        add_checksums(folder / f"{folder.name}.mcap")
        assert worst(folder) is Severity.OK


def test_an_index_of_other_messages_is_named(tmp_path: Path) -> None:
    folder = texts(tmp_path / "bag")
    file = folder / "bag.mcap"
    whole = file.read_bytes()
    at = whole.index(struct.pack("<QQ", 1, 0)[:8] + b"", whole.index(b"\x07\x86\x0c"))
    file.write_bytes(whole[: at + 8] + b"\xff" + whole[at + 9 :])
    assert "names other messages than its chunk has" in examine_files(folder)[0].found


def test_counts_that_differ_from_the_metadata_are_named(tmp_path: Path) -> None:
    folder = texts(tmp_path / "bag", "sqlite3")
    assert worst(folder) is Severity.OK
    with sqlite3.connect(folder / "bag.db3") as database:
        database.execute("DELETE FROM messages WHERE id > 150")
    database.close()
    found = examine_files(folder)[-1]
    assert found.level is Severity.ERROR
    assert "/words: 200 listed, 150 found" in found.found


def test_a_damaged_database_and_a_missing_part_are_named(tmp_path: Path) -> None:
    folder = texts(tmp_path / "bag", "sqlite3")
    file = folder / "bag.db3"
    whole = bytearray(file.read_bytes())
    whole[4096:12288] = bytes(8192)
    file.write_bytes(whole)
    assert worst(folder) is Severity.ERROR
    file.unlink()
    (found,) = examine_files(folder)
    assert "missing files: bag.db3" in found.found


def test_what_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no metadata\.yaml"):
        examine_files(tmp_path)
    (tmp_path / "a.mcap").write_bytes(b"")
    assert examine_files(tmp_path)[-1].level is Severity.WARNING  # metadata.yaml


def test_doctor_says_what_is_wrong_with_the_files_before_the_streams(bag: Path) -> None:
    done = CliRunner().invoke(main, ["doctor", "--bag", str(bag), "--base-frame", "", "--json"])
    checks = [one["check"] for one in json.loads(done.stdout)["findings"]]
    assert checks[:2] == ["bag.mcap", "metadata.yaml"]
    file = bag / "bag.mcap"
    file.write_bytes(file.read_bytes()[:-1000])
    done = CliRunner().invoke(main, ["doctor", "--bag", str(bag), "--base-frame", "", "--json"])
    assert done.exit_code == 3
    findings = json.loads(done.stdout)["findings"]
    assert "it ends before its index" in findings[0]["found"]
    assert findings[-1]["check"] == "streams"


def test_the_same_folder_gives_the_same_bytes(tmp_path: Path) -> None:
    write_frame(tmp_path / "frame", *chicks_and_cup_frame())
    for name in ("a", "b"):
        record(tmp_path / "frame", tmp_path / name / "bag")
    one, other = ((tmp_path / name / "bag" / "bag.mcap").read_bytes() for name in ("a", "b"))
    assert one == other


def test_counts_of_a_bag_that_is_compressed_as_a_whole_are_not_called_wrong(tmp_path: Path) -> None:
    folder = texts(tmp_path / "packed", compression=CompressionMode.FILE)
    (finding,) = examine_files(folder)
    assert finding.level is Severity.WARNING
    assert "not examined" in finding.found
    assert "unpack" in finding.repair


def test_the_name_of_a_compression_does_not_fill_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    name = b"x" * 1_000_000
    head = struct.pack("<QQQI", 0, 1, 10, 0) + struct.pack("<I", len(name)) + name + struct.pack("<Q", 10) + bytes(10)
    parts = [(1, bytes(8)), (CHUNK, head), (2, bytes(20))]
    path.write_bytes(MAGIC + b"".join(struct.pack("<BQ", kind, len(held)) + held for kind, held in parts) + MAGIC)
    (finding,) = examine_files(path)
    assert finding.level is Severity.ERROR
    assert len(finding.found) < 500
