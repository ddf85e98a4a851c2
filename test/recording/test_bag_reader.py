# SPDX-License-Identifier: Apache-2.0
"""Bags are read in the order of recording, from every storage; what is damaged is said, with the repair."""

import contextlib
import os
import random
import sqlite3
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from bag_builder import scene
from cli_runs import told
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from tables import tables

from spatial_vlm_ros.doctor.bags import examine_files
from spatial_vlm_ros.doctor.findings import Severity
from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.recording.bags.limits import CHUNK, MAGIC, add_checksums, footer, records
from spatial_vlm_ros.recording.bags.topics import DEFINITIONS, STRING, Topic, default_store, open_bag
from spatial_vlm_ros.recording.bags.writer import BagWriter

pytest.importorskip("rosbags")

INTERFACES = Path(__file__).parents[2] / "interfaces" / "msg"
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
T0 = 1_700_000_000_000_000_000
CUSTOM = "vendor_msgs/msg/Secret"


PLAIN = CompressionMode.NONE


def write(out: Path, storage: str = "mcap", count: int = 60, compression: Any = PLAIN, custom: Any = None) -> Path:
    """Strings on /a and /b by turns, 10 ms apart; where `custom` is given, a topic of that definition among them."""
    store = default_store()
    writer = Writer(out, version=8, storage_plugin=STORAGES[storage])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        topics = [writer.add_connection(name, STRING, typestore=store) for name in ("/a", "/b")]
        if custom is not None:
            other = writer.add_connection("/custom", CUSTOM, msgdef=custom, rihs01="RIHS01_" + "0" * 64)
            writer.write(other, T0, b"\x00\x01\x00\x00what only the vendor knows")
        for n in range(count):
            data = store.serialize_cdr(store.types[STRING](data=f"number {n}"), STRING)
            writer.write(topics[n % 2], T0 + n * 10_000_000, data)
    return out


def file_of(bag: Path) -> Path:
    return next(file for file in bag.iterdir() if file.suffix in (".mcap", ".db3"))


def texts(bag: Path, names: tuple[str, ...] | None = None) -> list[str]:
    with open_bag(bag) as opened:
        return [message.decode().data for message in opened.messages(names)]


@pytest.fixture(scope="module", params=STORAGES)
def bag(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write(tmp_path_factory.mktemp(request.param) / "bag", request.param)


def numbers(count: int = 60, step: int = 1, start: int = 0) -> list[str]:
    return [f"number {n}" for n in range(start, count, step)]


def test_messages_come_in_the_order_of_recording_with_topic_type_and_time(bag: Path) -> None:
    with open_bag(bag) as opened:
        assert opened.contents == (Topic("/a", STRING, 30), Topic("/b", STRING, 30))
        assert opened.topics == {"/a": STRING, "/b": STRING}
        assert opened.start_ns == T0
        messages = list(opened.messages())
    assert [m.decode().data for m in messages] == numbers()
    assert [(m.topic, m.type, m.log_ns) for m in messages[:2]] == [("/a", STRING, T0), ("/b", STRING, T0 + 10_000_000)]
    assert texts(bag, ("/b",)) == numbers(step=2, start=1)
    assert texts(bag, ()) == texts(bag, ("/nothing",)) == []


def test_bytes_of_all_messages_can_be_had_unread_and_a_closed_bag_can_be_closed_again(bag: Path) -> None:
    opened = open_bag(bag)
    raw = list(opened.raw())
    assert (len(raw), raw[0][:2]) == (60, ("/a", T0))
    assert default_store().deserialize_cdr(raw[0][2], STRING).data == "number 0"
    next(opened.messages())
    for _ in range(2):
        opened.close()
    with pytest.raises(FileError):
        list(opened.messages())


def test_a_file_its_metadata_and_a_folder_whose_recorder_was_killed_are_bags_too(bag: Path, tmp_path: Path) -> None:
    (tmp_path / file_of(bag).name).write_bytes(file_of(bag).read_bytes())
    for path in (file_of(bag), bag / "metadata.yaml", tmp_path):
        assert texts(path) == numbers()


@pytest.mark.parametrize(
    ("storage", "mode"),
    [("mcap", mode) for mode in (CompressionMode.STORAGE, CompressionMode.MESSAGE, CompressionMode.FILE)]
    + [("sqlite3", mode) for mode in (CompressionMode.MESSAGE, CompressionMode.FILE)],
)
def test_compressed_bags_are_read(storage: str, mode: CompressionMode, tmp_path: Path) -> None:
    assert texts(write(tmp_path / "bag", storage, compression=mode)) == numbers()


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_in_several_files_and_one_without_messages_are_read_through(storage: str, tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", storage), write(tmp_path / "second", storage)
    one, two = file_of(first).name, file_of(second).name
    file_of(second).rename(first / two)
    metadata = (first / "metadata.yaml").read_text()
    assert f"  - {one}\n" in metadata
    (first / "metadata.yaml").write_text(metadata.replace(f"  - {one}\n", f"  - {one}\n  - {two}\n"))
    assert texts(first) == numbers() * 2
    with open_bag(write(tmp_path / "empty", storage, count=0)) as opened:
        assert [topic.count for topic in opened.contents] == [0, 0]
        assert list(opened.messages()) == []


def test_an_old_sqlite_bag_without_definitions_is_read_for_standard_types(tmp_path: Path) -> None:
    store, path = default_store(), tmp_path / "old.db3"
    db = sqlite3.connect(path)
    db.executescript(
        "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT);"
        "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, data BLOB);"
        "INSERT INTO topics VALUES(1, '/a', 'std_msgs/msg/String', 'cdr'), (2, '/c', 'vendor_msgs/msg/Secret', 'cdr');"
    )
    data = bytes(store.serialize_cdr(store.types[STRING](data="hello"), STRING))
    db.execute("INSERT INTO messages(topic_id, timestamp, data) VALUES(1, ?, ?), (2, ?, ?)", (T0, data, T0, data))
    db.commit()
    db.close()
    assert texts(path, ("/a",)) == ["hello"]
    with open_bag(path) as opened, pytest.raises(FileError, match=r"vendor_msgs/msg/Secret.*neither in the bag"):
        next(opened.messages(("/c",))).decode()


@pytest.mark.parametrize("definition", ["uint8[] data\nint32 x", "this is % no definition [", ""])
@pytest.mark.parametrize("storage", STORAGES)
def test_types_that_nobody_knows_do_not_disturb_other_topics(definition: str, storage: str, tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", storage, count=4, custom=definition)
    assert len(texts(bag, ("/a", "/b"))) == 4
    with open_bag(bag) as opened:
        assert opened.topics["/custom"] == CUSTOM
        assert len(list(opened.messages())) == 5  # unread, it does no harm


def test_the_definitions_in_the_package_are_those_of_the_interfaces() -> None:
    for name, text in DEFINITIONS.items():
        lines = (INTERFACES / f"{name.rpartition('/')[2]}.msg").read_text(encoding="utf-8").splitlines()
        fields = [field for line in lines if (field := line.partition("#")[0].rstrip())]
        assert text.splitlines() == fields, name


def test_rosbags_is_named_where_it_is_missing(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(DependencyError, match=r"pip install rosbags"):
        open_bag(bag)


@pytest.mark.parametrize(("name", "files", "says"), tables(__file__)["no bags"])
def test_what_is_no_bag_is_refused_with_the_repair(name: str, files: Any, says: str, tmp_path: Path) -> None:
    path = tmp_path / name
    if isinstance(files, str):
        path.write_text(files)
    elif isinstance(files, list):
        path.mkdir()
        for file in files:
            (path / file).write_bytes(b"")
    with pytest.raises(FileError, match=says):
        open_bag(path)
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match="it is not a file"):
        open_bag(tmp_path / "pipe")


def damage(whole: bytes, count: int) -> Iterator[bytes]:
    dice = random.Random(0)
    for _ in range(count):
        blob = bytearray(whole)
        for _ in range(dice.choice((1, 5, 40))):
            blob[dice.randrange(len(blob))] = dice.randrange(256)
        yield bytes(blob)


def outcomes(path: Path, blobs: Iterator[bytes]) -> tuple[int, int]:
    """How often damaged bytes were refused and how often read; anything else than FileError fails the test."""
    refused = read = 0
    for blob in blobs:
        path.write_bytes(blob)
        try:
            assert len(texts(path)) <= 60
            read += 1
        except FileError:
            refused += 1
    return refused, read


def test_a_file_cut_off_or_wrong_anywhere_is_refused_or_read_as_far_as_it_goes(bag: Path, tmp_path: Path) -> None:
    whole, copy = file_of(bag).read_bytes(), tmp_path / file_of(bag).name
    cuts = [*range(0, 120, 3), *range(120, len(whole), max(1, len(whole) // 50)), *range(len(whole) - 60, len(whole))]
    refused, read = outcomes(copy, (whole[:cut] for cut in cuts))
    assert refused > 0.8 * (refused + read)
    assert sum(outcomes(copy, damage(whole, 60))) == 60


def test_a_cut_off_or_compressed_file_with_wrong_bytes_says_how_it_is_mended(tmp_path: Path) -> None:
    file = file_of(write(tmp_path / "bag"))
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(FileError, match=r"ends before its index: the recorder was killed.*mcap recover bag\.mcap"):
        open_bag(file)
    file = file_of(write(tmp_path / "packed", compression=CompressionMode.STORAGE))
    whole = file.read_bytes()
    middle = whole.index(b"zstd") + 40
    file.write_bytes(whole[:middle] + b"\xff" * 20 + whole[middle + 20 :])
    with pytest.raises(FileError, match="mcap recover"):
        texts(file.parent)


def test_metadata_that_makes_no_sense_is_refused_or_read(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", count=4)
    metadata = bag / "metadata.yaml"
    whole = metadata.read_text()
    for text in ("", "rosbag2_bagfile_information: 3", "a: [", "\x00", "rosbag2_bagfile_information: {}"):
        metadata.write_text(text)
        with pytest.raises(FileError):
            open_bag(bag)
    for cut in range(0, len(whole), 41):
        metadata.write_text(whole[:cut])
        with contextlib.suppress(FileError):
            assert len(texts(bag)) <= 4
    metadata.write_text(whole)
    file_of(bag).unlink()
    with pytest.raises(FileError, match="missing"):
        open_bag(bag)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    seen = scene()
    with BagWriter(tmp_path / "bag") as writer:
        for number in range(3):
            writer.write_frame(seen.frame, seen.detections, (number + 1) * 1_000_000_000)
    return tmp_path / "bag"


def worst(path: Path) -> Severity:
    levels = [finding.level for finding in examine_files(path)]
    return next(level for level in (Severity.ERROR, Severity.WARNING, Severity.OK) if level in levels)


def test_a_bag_that_was_recorded_is_whole_and_another_library_agrees_with_its_checksums(recorded: Path) -> None:
    file, counted = examine_files(recorded)
    assert (file.level, counted.level) == (Severity.OK, Severity.OK)
    assert "12 messages over 2.0 s" in file.found
    assert "chunks with the right CRC" in file.found
    assert counted.found == "12 messages, as in the files"
    reader, stream = pytest.importorskip("mcap.reader"), pytest.importorskip("mcap.stream_reader")
    with (recorded / "bag.mcap").open("rb") as opened:
        read = reader.make_reader(opened, validate_crcs=True)
        assert read.get_summary().statistics.message_count == sum(1 for _ in read.iter_messages()) == 12
    with (recorded / "bag.mcap").open("rb") as opened:  # also the CRC of all data
        records_ = stream.StreamReader(opened, validate_crcs=True, emit_chunks=False).records
        assert {type(one).__name__ for one in records_} >= {"DataEnd", "Footer"}


def test_one_wrong_chunk_leaves_the_others_readable(recorded: Path) -> None:
    file = recorded / "bag.mcap"
    with file.open("rb") as opened:
        chunks = [one for one in records(opened, len(MAGIC), footer(opened)[0].at) if one.kind == CHUNK]
    damaged = bytearray(file.read_bytes())
    damaged[chunks[1].content_at + chunks[1].length // 2] ^= 1
    file.write_bytes(damaged)
    (found, counted) = examine_files(recorded)
    assert found.level is Severity.ERROR
    assert f"the chunk at byte {chunks[1].at} cannot be read: its CRC is wrong" in found.found
    assert "Still readable: " in found.found
    assert "Still readable: 0" not in found.found
    assert "mcap recover bag.mcap" in found.repair
    assert counted.level is Severity.ERROR
    assert "listed" in counted.found


def test_a_file_that_is_cut_off_is_named_also_by_doctor(recorded: Path) -> None:
    file = recorded / "bag.mcap"
    whole = file.read_bytes()
    command = ["doctor", "--bag", recorded, "--base-frame", ""]
    found = [one["check"] for one in told(*command)["findings"]]
    assert found[:2] == ["bag.mcap", "metadata.yaml"]
    for part in (0.001, 0.3, 0.9, 0.9999):
        file.write_bytes(whole[: int(len(whole) * part)])
        found = examine_files(recorded)[0]
        assert found.level is Severity.ERROR
        assert "Still readable: " in found.found
    findings = told(*command, code=3)["findings"]
    assert findings[-1]["check"] == "streams"
    assert "it ends before its index" in findings[0]["found"]


def test_what_cannot_be_examined_is_a_warning_with_the_repair(tmp_path: Path) -> None:
    for compression in (PLAIN, CompressionMode.STORAGE):
        folder = write(tmp_path / compression.name, compression=compression)  # rosbags itself writes no checksums
        assert worst(folder) is Severity.WARNING
        assert "have no CRC" in examine_files(folder)[0].found
        add_checksums(file_of(folder))
        assert worst(folder) is Severity.OK
    (finding,) = examine_files(write(tmp_path / "packed", compression=CompressionMode.FILE))
    assert finding.level is Severity.WARNING
    assert "not examined" in finding.found
    assert "unpack" in finding.repair


def test_an_index_of_other_messages_is_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", count=200)
    file = file_of(folder)
    whole = file.read_bytes()
    index = whole.index(struct.pack("<BQ", 7, 100 * 16 + 6))  # of 100 messages on /a
    at = whole.index(struct.pack("<Q", T0), index)
    file.write_bytes(whole[: at + 8] + b"\xff" + whole[at + 9 :])
    assert "names other messages than its chunk has" in examine_files(folder)[0].found


def test_counts_that_differ_a_damaged_database_and_a_missing_part_are_named(tmp_path: Path) -> None:
    folder = write(tmp_path / "bag", "sqlite3", count=200)
    assert worst(folder) is Severity.OK
    with contextlib.closing(sqlite3.connect(file_of(folder))) as database, database:
        database.execute("DELETE FROM messages WHERE id > 150")
    found = examine_files(folder)[-1]
    assert found.level is Severity.ERROR
    assert "/a: 100 listed, 75 found" in found.found
    whole = bytearray(file_of(folder).read_bytes())
    whole[4096:12288] = bytes(8192)
    file_of(folder).write_bytes(whole)
    assert worst(folder) is Severity.ERROR
    file_of(folder).unlink()
    (finding,) = examine_files(folder)
    assert "missing files: bag.db3" in finding.found


def test_what_is_no_bag_is_not_examined(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no metadata\.yaml"):
        examine_files(tmp_path)
    (tmp_path / "a.mcap").write_bytes(b"")
    assert examine_files(tmp_path)[-1].level is Severity.WARNING  # metadata.yaml


def test_the_name_of_a_compression_does_not_fill_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "a.mcap"
    name = b"x" * 1_000_000
    head = struct.pack("<QQQI", 0, 1, 10, 0) + struct.pack("<I", len(name)) + name + struct.pack("<Q", 10) + bytes(10)
    parts = [(1, bytes(8)), (CHUNK, head), (2, bytes(20))]
    path.write_bytes(MAGIC + b"".join(struct.pack("<BQ", kind, len(held)) + held for kind, held in parts) + MAGIC)
    (finding,) = examine_files(path)
    assert finding.level is Severity.ERROR
    assert len(finding.found) < 500
