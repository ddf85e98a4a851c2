# SPDX-License-Identifier: Apache-2.0
"""Bags are read in the order of recording, from every storage; what is damaged is said, with the repair."""

from __future__ import annotations

import os
import random
import sqlite3
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rosbags")

from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

from spatial_vlm_ros.errors import DependencyError, FileError
from spatial_vlm_ros.evaluation.bags.reader import Topic, open_bag
from spatial_vlm_ros.evaluation.bags.types import DEFINITIONS, STRING, default_store

INTERFACES = Path(__file__).parents[2] / "interfaces" / "msg"
STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
T0 = 1_700_000_000_000_000_000
CUSTOM = "vendor_msgs/msg/Secret"


def write(
    out: Path,
    storage: str = "mcap",
    count: int = 60,
    compression: CompressionMode = CompressionMode.NONE,
    custom: str | None = None,
) -> Path:
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


# ------------------------------------------------------------------------------------------------ what is whole


def test_messages_come_in_the_order_of_recording_with_topic_type_and_time(bag: Path) -> None:
    with open_bag(bag) as opened:
        assert opened.contents == (Topic("/a", STRING, 30), Topic("/b", STRING, 30))
        assert opened.topics == {"/a": STRING, "/b": STRING}
        assert opened.start_ns == T0
        messages = list(opened.messages())
    assert [m.decode().data for m in messages] == [f"number {n}" for n in range(60)]
    assert [(m.topic, m.type, m.log_ns) for m in messages[:2]] == [("/a", STRING, T0), ("/b", STRING, T0 + 10_000_000)]


def test_only_the_topics_asked_for_are_read(bag: Path) -> None:
    assert texts(bag, ("/b",)) == [f"number {n}" for n in range(1, 60, 2)]
    assert texts(bag, ()) == []
    assert texts(bag, ("/nothing",)) == []


def test_bytes_of_all_messages_can_be_had_unread(bag: Path) -> None:
    with open_bag(bag) as opened:
        raw = list(opened.raw())
    assert len(raw) == 60
    assert raw[0][:2] == ("/a", T0)
    assert default_store().deserialize_cdr(raw[0][2], STRING).data == "number 0"


def test_a_single_file_is_a_bag_too(bag: Path) -> None:
    assert len(texts(file_of(bag))) == 60


def test_a_metadata_file_stands_for_its_folder(bag: Path) -> None:
    assert len(texts(bag / "metadata.yaml")) == 60


def test_a_folder_whose_recorder_was_killed_has_no_metadata_and_is_read_all_the_same(bag: Path, tmp_path: Path) -> None:
    (tmp_path / file_of(bag).name).write_bytes(file_of(bag).read_bytes())
    assert len(texts(tmp_path)) == 60


@pytest.mark.parametrize(
    ("storage", "mode"),
    [
        ("mcap", CompressionMode.STORAGE),
        ("mcap", CompressionMode.MESSAGE),
        ("mcap", CompressionMode.FILE),
        ("sqlite3", CompressionMode.MESSAGE),
        ("sqlite3", CompressionMode.FILE),
    ],
)
def test_compressed_bags_are_read(storage: str, mode: CompressionMode, tmp_path: Path) -> None:
    assert texts(write(tmp_path / "bag", storage, compression=mode)) == [f"number {n}" for n in range(60)]


@pytest.mark.parametrize("storage", STORAGES)
def test_a_bag_in_several_files_is_read_through(storage: str, tmp_path: Path) -> None:
    first, second = write(tmp_path / "first", storage), write(tmp_path / "second", storage)
    one, two = file_of(first).name, file_of(second).name
    file_of(second).rename(first / two)
    metadata = (first / "metadata.yaml").read_text()
    assert f"  - {one}\n" in metadata
    (first / "metadata.yaml").write_text(metadata.replace(f"  - {one}\n", f"  - {one}\n  - {two}\n"))
    assert texts(first) == [f"number {n}" for n in range(60)] * 2


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


def test_a_bag_without_messages_has_topics_and_nothing_to_read(bag: Path, tmp_path: Path) -> None:
    storage = "mcap" if file_of(bag).suffix == ".mcap" else "sqlite3"
    empty = write(tmp_path / "empty", storage, count=0)
    with open_bag(empty) as opened:
        assert [topic.count for topic in opened.contents] == [0, 0]
        assert list(opened.messages()) == []


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
        assert text == (INTERFACES / f"{name.rpartition('/')[2]}.msg").read_text(encoding="utf-8"), name


# ------------------------------------------------------------------------------------------------ what is not


def test_rosbags_is_named_where_it_is_missing(bag: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rosbags.rosbag2", None)
    with pytest.raises(DependencyError, match=r"pip install rosbags"):
        open_bag(bag)


def damaged(kind: str, folder: Path) -> Path:
    """A path that is no bag."""
    path = folder / {"text": "notes.txt", "ros1": "old.bag", "empty_mcap": "x.mcap", "empty_db3": "x.db3"}.get(
        kind, kind
    )
    if kind == "folder":
        path.mkdir()
    elif kind == "parts":
        path.mkdir()
        for n in range(2):
            (path / f"bag_{n}.mcap").write_bytes(b"")
    elif kind == "pipe":
        os.mkfifo(path)
    elif kind != "missing":
        path.write_bytes(b"" if kind.startswith("empty") else b"hello")
    return path


@pytest.mark.parametrize(
    ("kind", "says"),
    [
        ("missing", "no such file"),
        ("folder", "no metadata.yaml"),
        ("parts", r"ros2 bag reindex parts"),
        ("text", r"the name ends in '\.txt'"),
        ("ros1", "rosbag reindex old.bag"),
        ("empty_mcap", "mcap recover x.mcap"),
        ("empty_db3", r"sqlite3 x\.db3 \.recover"),
        ("pipe", "it is not a file"),
    ],
)
def test_what_is_no_bag_is_refused_with_the_repair(kind: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(FileError, match=says):
        open_bag(damaged(kind, tmp_path))


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


def test_a_file_cut_off_anywhere_is_refused_or_read_as_far_as_it_goes(bag: Path, tmp_path: Path) -> None:
    whole = file_of(bag).read_bytes()
    cuts = [*range(0, 120, 3), *range(120, len(whole), max(1, len(whole) // 100)), *range(len(whole) - 60, len(whole))]
    refused, read = outcomes(tmp_path / file_of(bag).name, (whole[:cut] for cut in cuts))
    assert refused > 0.8 * (refused + read)


def test_a_cut_off_mcap_file_says_how_it_is_mended(tmp_path: Path) -> None:
    file = file_of(write(tmp_path / "bag"))
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(FileError, match=r"ends before its index: the recorder was killed.*mcap recover bag\.mcap"):
        open_bag(file)


def test_wrong_bytes_anywhere_are_refused_or_read(bag: Path, tmp_path: Path) -> None:
    whole, dice = file_of(bag).read_bytes(), random.Random(0)

    def spoilt() -> Iterator[bytes]:
        for _ in range(200):
            blob = bytearray(whole)
            for _ in range(dice.choice((1, 5, 40))):
                blob[dice.randrange(len(blob))] = dice.randrange(256)
            yield bytes(blob)

    assert sum(outcomes(tmp_path / file_of(bag).name, spoilt())) == 200


def test_compressed_bytes_that_are_wrong_are_refused(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", "mcap", compression=CompressionMode.STORAGE)
    whole = file_of(bag).read_bytes()
    middle = whole.index(b"zstd") + 40
    file_of(bag).write_bytes(whole[:middle] + b"\xff" * 20 + whole[middle + 20 :])
    with pytest.raises(FileError, match="mcap recover"):
        texts(bag)


@pytest.mark.parametrize(
    "text", ["", "rosbag2_bagfile_information: 3", "a: [", "\x00", "rosbag2_bagfile_information: {}"]
)
def test_metadata_that_makes_no_sense_is_refused(text: str, tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    (bag / "metadata.yaml").write_text(text)
    with pytest.raises(FileError):
        open_bag(bag)


def test_metadata_cut_off_anywhere_is_refused_or_read(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag", count=4)
    whole = (bag / "metadata.yaml").read_text()
    for cut in range(0, len(whole), 41):
        (bag / "metadata.yaml").write_text(whole[:cut])
        try:
            assert len(texts(bag)) <= 4
        except FileError:
            continue


def test_metadata_that_names_a_missing_part_is_refused(tmp_path: Path) -> None:
    bag = write(tmp_path / "bag")
    file_of(bag).unlink()
    with pytest.raises(FileError, match="missing"):
        open_bag(bag)


def test_a_message_with_damaged_bytes_names_its_topic_and_time(tmp_path: Path) -> None:
    writer = Writer(tmp_path / "bag", version=8, storage_plugin=StoragePlugin.MCAP)
    with writer:
        topic = writer.add_connection("/a", STRING, typestore=default_store())
        writer.write(topic, T0, b"\x00\x01\x00\x00\xff\xff\xff\x7fabc")
    with open_bag(tmp_path / "bag") as opened, pytest.raises(FileError, match=f"/a, recorded at {T0} ns"):
        next(opened.messages()).decode()


def test_a_closed_bag_can_be_closed_again(bag: Path) -> None:
    opened = open_bag(bag)
    messages = opened.messages()
    next(messages)
    opened.close()
    opened.close()
    with pytest.raises(FileError):
        list(opened.messages())
