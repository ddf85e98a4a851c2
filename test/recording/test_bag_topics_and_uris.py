# SPDX-License-Identifier: Apache-2.0
"""Which topic of a bag plays which role, and bags of an object store, which are read by range."""

import itertools
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import fsspec
import pytest
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from s3_server import put
from tables import tables

from spatial_vlm_ros.errors import FileError, InputError, StoreError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags import remote
from spatial_vlm_ros.recording.bags.remote import (
    HEAD,
    TAIL,
    RangedStream,
    facts_of,
    is_remote,
    joined,
    local_path,
    store_error,
    summary_bytes,
)
from spatial_vlm_ros.recording.bags.topics import (
    CAMERA_INFO,
    COMPRESSED_IMAGE,
    IMAGE,
    STRING,
    Topic,
    choose_roles,
    default_store,
    open_bag,
)
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS

pytest.importorskip("rosbags")
pytest.importorskip("fsspec")


TABLES = tables(__file__)


def images(*names: str) -> list[Topic]:
    topics = []
    for name in names:
        is_compressed = name.rpartition("/")[2].startswith("compressed")
        topics.append(Topic(name, COMPRESSED_IMAGE if is_compressed else IMAGE, 30))
        base = name.rpartition("/")[0] if is_compressed else name
        topics.append(Topic(base.rpartition("/")[0] + "/camera_info", CAMERA_INFO, 30))
    return list(dict.fromkeys(topics))


@pytest.mark.parametrize(("names", "more", "given", "config", "expected"), TABLES["chosen"])
def test_roles_are_found_by_the_names_that_drivers_give_topics(
    names: list[str], more: list[Any], given: dict[str, str], config: dict[str, bool], expected: dict[str, Any]
) -> None:
    topics = [*images(*names), *(Topic(*each) for each in more)]
    roles = choose_roles(topics, StreamConfig(**config), given, with_detections=DETECTIONS in expected)
    assert {role: roles.get(role) for role in expected} == expected


def test_the_order_of_the_topics_does_not_matter() -> None:
    topics = images("/zed/rgb/image_rect_color", "/zed/depth/depth_registered", "/zed/left/image_rect_color")[:5]
    chosen = (choose_roles(order, StreamConfig(), with_detections=False) for order in itertools.permutations(topics))
    assert len({str(roles) for roles in chosen}) == 1


@pytest.mark.parametrize(("names", "more", "given", "config", "says"), TABLES["no role"])
def test_a_role_without_topic_is_refused_with_the_option_to_name_one(
    names: list[str], more: list[Any], given: dict[str, str], config: dict[str, bool], says: str
) -> None:
    with pytest.raises(InputError, match=says):
        choose_roles([*images(*names), *(Topic(*each) for each in more)], StreamConfig(**config), given)


def test_two_cameras_with_depth_are_refused_with_all_that_is_there() -> None:
    topics = images("/b/color/image_raw", "/b/depth/image_raw", "/a/color/image_raw", "/a/depth/image_raw")
    with pytest.raises(InputError, match=r"several cameras \(/a, /b\)") as refused:
        choose_roles(topics, StreamConfig())
    for words in ("--rgb TOPIC and --depth TOPIC", *(f"{topic.name} ({topic.type}, 30)" for topic in topics)):
        assert words in str(refused.value)


STORE = "memory://recordings"
T0, MS = 1_700_000_000_000_000_000, 1_000_000
COUNT, LENGTH = 24, 200_000  # messages, characters of each
START, STOP = T0 + 100 * MS, T0 + 160 * MS


def write(out: Path, storage: str = "mcap", compression: CompressionMode = CompressionMode.NONE) -> Path:
    """A first message on /once, then long ones on /often 10 ms apart: five to a chunk. Halfway, one on /seldom."""
    store = default_store()
    writer = Writer(out, version=8, storage_plugin=StoragePlugin[storage.upper()])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        names = ("/once", "/often", "/seldom")
        topics = {name: writer.add_connection(name, STRING, typestore=store) for name in names}

        def say(name: str, at: int, words: str) -> None:
            writer.write(topics[name], T0 + at, store.serialize_cdr(store.types[STRING](data=words), STRING))

        say("/once", 0, "begin")
        for n in range(COUNT):
            say("/often", (n + 1) * 10 * MS, f"{n:04}" * (LENGTH // 4))
            if n == COUNT // 2:
                say("/seldom", (n + 1) * 10 * MS + 1, "middle")
    return out


@pytest.fixture(scope="module")
def bag(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    path = write(tmp_path_factory.mktemp("bags") / "run")
    return f"{put(path, f'{STORE}/run')}/run.mcap", path / "run.mcap"


def read(path: str | Path, *names: str, start: int | None = None, stop: int | None = None) -> list[bytes]:
    with open_bag(path) as opened:
        return [bytes(m.raw) for m in opened.messages(names or None, start, stop)]


@pytest.fixture
def fetched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    sizes: list[int] = []

    class Counted(RangedStream):
        def __init__(self, fetch: Callable[[int, int], bytes], size: int) -> None:
            super().__init__(lambda first, last: sizes.append(last - first) or fetch(first, last), size)  # type: ignore[func-returns-value]

    monkeypatch.setattr(remote, "RangedStream", Counted)
    return sizes


def taken(fetched: list[int]) -> tuple[int, int]:
    found = sum(fetched) - HEAD - TAIL, len(fetched)
    fetched.clear()
    return found


def test_a_bag_of_a_store_has_the_same_messages_as_on_disk(bag: tuple[str, Path]) -> None:
    uri, path = bag
    with open_bag(uri) as there, open_bag(path) as here:
        assert (there.contents, there.start_ns, there.chunks()) == (here.contents, here.start_ns, here.chunks())
        assert list(there.raw()) == list(here.raw())
    assert facts_of(uri).size == facts_of(path).size == path.stat().st_size
    assert path.read_bytes().endswith(summary_bytes(uri))
    assert len(summary_bytes(uri)) < TAIL


def test_only_the_index_and_the_chunks_that_are_wanted_are_fetched(bag: tuple[str, Path], fetched: list[int]) -> None:
    uri, path = bag
    with open_bag(path) as opened:
        chunks = opened.chunks()
    with open_bag(uri) as opened:
        assert opened.topics == {"/once": STRING, "/often": STRING, "/seldom": STRING}
        size, requests = taken(fetched)
        assert size <= 0
        assert requests == 2  # its two ends
    assert path.stat().st_size > 50 * (HEAD + TAIL)
    raw = read(uri, "/seldom")
    (chunk,) = [chunk for chunk in chunks if "/seldom" in chunk.topics]
    size, requests = taken(fetched)
    assert size <= chunk.size
    assert (len(raw), requests) == (1, 3)
    raw = read(uri, start=START, stop=STOP)
    touched = [chunk for chunk in chunks if chunk.end_ns >= START and chunk.start_ns < STOP]
    assert raw == read(path, start=START, stop=STOP)
    assert len(raw) == 7  # one of them on /seldom
    assert len(touched) in (2, 3)
    assert taken(fetched)[0] <= sum(chunk.size for chunk in touched)
    assert read(uri) == read(path)
    size, requests = taken(fetched)
    assert size <= path.stat().st_size
    assert requests == 2 + len(chunks)  # each chunk once
    assert len(read(f"{STORE}/run", "/seldom")) == 1  # a folder is a bag, too
    assert taken(fetched)[0] <= chunk.size + (path.parent / "metadata.yaml").stat().st_size


@pytest.mark.parametrize("compression", [CompressionMode.STORAGE, CompressionMode.MESSAGE])
def test_compressed_bags_are_read_by_range(compression: CompressionMode, tmp_path: Path, fetched: list[int]) -> None:
    path = write(tmp_path / "packed", compression=compression)
    assert read(put(path, f"{STORE}/packed-{compression.name}")) == read(path)
    assert fetched


def test_chunks_of_a_store_are_unpacked_within_the_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also if no local bag was opened before."""
    from rosbags.rosbag2 import storage_mcap

    without_bounds = Mock(side_effect=AssertionError("unpacked without a bound"))
    path = write(tmp_path / "packed", compression=CompressionMode.STORAGE)
    uri = put(path, f"{STORE}/bounded")
    for name in ("lz4", "zstd"):
        monkeypatch.setitem(storage_mcap.DECOMPRESSORS, name, without_bounds)
    assert len(read(uri)) == len(read(path))


@pytest.mark.parametrize("text", ["a: " + "[" * 40 + "]" * 40, "a: &a [1, 1]\n" * 3 + "b: 1" + "0" * 500])
def test_metadata_of_a_store_has_the_limits_of_a_local_one(text: str, tmp_path: Path) -> None:
    path = write(tmp_path / "bag")
    (path / "metadata.yaml").write_text((path / "metadata.yaml").read_text() + text)
    for place in (path, put(path, f"{STORE}/deep")):
        with pytest.raises(FileError, match=r"the YAML has more than 32 levels|a number has 501 characters"):
            open_bag(place)


def test_sqlite_bags_are_copied_first_and_the_copy_is_removed(tmp_path: Path, caplog: Any, monkeypatch: Any) -> None:
    path = write(tmp_path / "lite", "sqlite3")
    uri, copies = put(path, f"{STORE}/lite"), tmp_path / "copies"
    copies.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(copies))
    with caplog.at_level(logging.WARNING), open_bag(uri) as opened:
        assert list(copies.iterdir())
        assert list(opened.raw()) == list(open_bag(path).raw())
    assert not list(copies.iterdir())
    size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    assert "lite.db3 is not MCAP, the only format that can be read by range" in caplog.text
    assert f"copied to this machine first ({size:.1f} MB)" in caplog.text


def test_mcap_without_an_index_is_copied_first(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pytest.importorskip("mcap")
    from mcap.writer import CompressionType, IndexType
    from mcap.writer import Writer as Plain

    path, store = tmp_path / "plain.mcap", default_store()
    names = ("use_chunking", "use_statistics", "use_summary_offsets", "repeat_channels", "repeat_schemas")
    left_out = dict.fromkeys(names, False)
    with path.open("wb") as file:
        plain = Plain(file, compression=CompressionType.NONE, index_types=IndexType.NONE, **left_out)
        plain.start("ros2")
        channel = plain.register_channel("/a", "cdr", plain.register_schema(STRING, "ros2msg", b"string data"))
        plain.add_message(channel, T0, store.serialize_cdr(store.types[STRING](data="x"), STRING), T0)
        plain.finish()
    with caplog.at_level(logging.WARNING):
        assert read(put(path, f"{STORE}/plain.mcap")) == read(path)
    assert "plain.mcap has no chunk index" in caplog.text


def test_a_bag_that_is_not_there_or_cut_off_or_of_no_scheme_is_said(bag: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.mcap").write_bytes(bag[1].read_bytes()[:-1000])
    for uri, words in (
        (f"{STORE}/none.mcap", "no such file"),
        (f"{STORE}/no-folder", "no such file"),
        ("nosuch://bucket/run.mcap", r"Pass a path, or a URI such as s3://"),
        (put(tmp_path / "cut.mcap", f"{STORE}/cut.mcap"), r"ends before its index.*mcap recover cut\.mcap"),
    ):
        with pytest.raises(FileError, match=words):
            open_bag(uri)


@pytest.mark.parametrize("error", [OSError("connection reset"), FileNotFoundError("run.mcap")])
def test_a_store_that_fails_midway_is_no_damaged_bag(error: OSError, bag: tuple[str, Path], monkeypatch: Any) -> None:
    with open_bag(bag[0]) as opened:
        messages = opened.messages()
        assert next(messages).decode().data == "begin"
        monkeypatch.setattr(fsspec.get_filesystem_class("memory"), "cat_file", Mock(side_effect=error))
        with pytest.raises(StoreError, match="run the same command with --resume"):
            list(messages)


def test_missing_credentials_are_said_as_such() -> None:
    missing = type("NoCredentialsError", (Exception,), {})  # as botocore's
    error = store_error("s3://lab/run.mcap", missing("Unable to locate credentials"))
    assert "Check the store's credentials on this machine" in str(error)


def test_what_has_a_scheme_is_remote_and_is_joined_as_such() -> None:
    assert all(is_remote(text) for text in ("s3://b/x.mcap", "gs://b"))
    assert not any(is_remote(text) for text in ("file:///bags/x", "run1", "/a/b", "c:/x", "://x", "a b://x"))
    assert joined("s3://b/run/", "run.mcap") == "s3://b/run/run.mcap"
    assert joined("file:///bags/a%20b", "x") == "/bags/a b/x"
    assert local_path("file:///bags/a") == Path("/bags/a")


def test_a_short_index_fetches_little_and_a_long_one_few_ranges() -> None:
    data, fetched = bytes(8 * 2**20), list[int]()

    def fetch(first: int, last: int) -> bytes:
        fetched.append(last - first)
        return data[first:last]

    stream = RangedStream(fetch, len(data))
    stream.seek(2**20)
    stream.read(1000)
    assert fetched == [TAIL]
    while stream.tell() < 7 * 2**20:
        stream.read(1000)
    assert len(fetched) < 12


def test_a_store_that_gives_too_little_is_noticed() -> None:
    stream = RangedStream(lambda first, last: b"x" * (last - first - 1), 1000)
    with pytest.raises(OSError, match="999 bytes arrived instead of 1000"):
        stream.read(10)
