# SPDX-License-Identifier: Apache-2.0
"""Bags of an object store are read by range: the index and the chunks that are wanted, and nothing else."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("rosbags")
pytest.importorskip("s3fs")
pytest.importorskip("moto.server")

import fsspec
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from s3_server import BUCKET, S3Server, put, running_server

from spatial_vlm_ros.errors import FileError, StoreError
from spatial_vlm_ros.evaluation.bags.reader import Bag, open_bag
from spatial_vlm_ros.evaluation.bags.types import STRING, default_store
from spatial_vlm_ros.evaluation.engine.ranged import HEAD, TAIL, RangedStream
from spatial_vlm_ros.evaluation.engine.remote_bag import summary_bytes
from spatial_vlm_ros.evaluation.engine.uris import facts_of, is_remote, joined, local_path, store_error

STORAGES = {"mcap": StoragePlugin.MCAP, "sqlite3": StoragePlugin.SQLITE3}
T0 = 1_700_000_000_000_000_000
MS = 1_000_000
COUNT, LENGTH = 48, 200_000  # messages, characters of each


def write(out: Path, storage: str = "mcap", compression: CompressionMode = CompressionMode.NONE) -> Path:
    """A first message on /once, then long ones on /often 10 ms apart: five to a chunk. Halfway, one on /seldom."""
    store = default_store()
    writer = Writer(out, version=8, storage_plugin=STORAGES[storage])
    writer.set_compression(compression, CompressionFormat.ZSTD)
    with writer:
        once, often, seldom = (
            writer.add_connection(n, STRING, typestore=store) for n in ("/once", "/often", "/seldom")
        )
        say = lambda words: store.serialize_cdr(store.types[STRING](data=words), STRING)  # noqa: E731
        writer.write(once, T0, say("begin"))
        for n in range(COUNT):
            writer.write(often, T0 + (n + 1) * 10 * MS, say(f"{n:04}" * (LENGTH // 4)))
            if n == COUNT // 2:
                writer.write(seldom, T0 + (n + 1) * 10 * MS + 1, say("middle"))
    return out


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with running_server() as running:
        before = dict(os.environ)
        os.environ.update(running.environment())
        fsspec.filesystem("s3").mkdir(BUCKET)
        yield running
        os.environ.clear()
        os.environ.update(before)
        fsspec.filesystem("s3").clear_instance_cache()


@pytest.fixture(scope="module")
def bag(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """URI and path of the same bag."""
    del server
    path = write(tmp_path_factory.mktemp("bags") / "run")
    put(path, f"s3://{BUCKET}/run")
    return f"s3://{BUCKET}/run/run.mcap", path / "run.mcap"


def read(path: str | Path, *names: str, start: int | None = None, stop: int | None = None) -> tuple[list[bytes], Bag]:
    with open_bag(path) as opened:
        raw = [bytes(m.raw) for m in opened.messages(names or None, start, stop)]
        return raw, opened


def fetched(opened: Bag) -> int:
    assert opened.traffic is not None
    return opened.traffic.fetched


# ------------------------------------------------------------------------------------------------ ranges


def test_a_bag_of_a_store_has_the_same_messages_as_on_disk(bag: tuple[str, Path]) -> None:
    uri, path = bag
    with open_bag(uri) as there, open_bag(path) as here:
        assert (there.contents, there.start_ns, there.chunks()) == (here.contents, here.start_ns, here.chunks())
        assert list(there.raw()) == list(here.raw())


def test_opening_a_bag_fetches_its_two_ends_alone(bag: tuple[str, Path]) -> None:
    uri, path = bag
    with open_bag(uri) as opened:
        assert opened.topics == {"/once": STRING, "/often": STRING, "/seldom": STRING}
        assert fetched(opened) <= HEAD + TAIL
        assert opened.traffic is not None
        assert opened.traffic.requests == 2
    assert path.stat().st_size > 100 * (HEAD + TAIL)


def test_only_the_chunks_of_the_topics_wanted_are_fetched(bag: tuple[str, Path]) -> None:
    raw, opened = read(bag[0], "/seldom")
    assert len(raw) == 1
    (chunk,) = [chunk for chunk in opened_chunks(bag[1]) if "/seldom" in chunk.topics]
    assert fetched(opened) <= HEAD + TAIL + chunk.size
    assert opened.traffic is not None
    assert opened.traffic.requests == 3


def test_only_the_chunks_of_the_time_wanted_are_fetched(bag: tuple[str, Path]) -> None:
    start, stop = T0 + 200 * MS, T0 + 260 * MS
    raw, opened = read(bag[0], start=start, stop=stop)
    assert raw == read(bag[1], start=start, stop=stop)[0]
    assert len(raw) == 7  # one of them on /seldom
    touched = [chunk for chunk in opened_chunks(bag[1]) if chunk.end_ns >= start and chunk.start_ns < stop]
    assert len(touched) in (2, 3)
    assert fetched(opened) <= HEAD + TAIL + sum(chunk.size for chunk in touched)


def test_a_whole_bag_is_fetched_once_chunk_by_chunk(bag: tuple[str, Path]) -> None:
    _, opened = read(bag[0])
    chunks = opened_chunks(bag[1])
    assert fetched(opened) <= HEAD + TAIL + bag[1].stat().st_size
    assert opened.traffic is not None
    assert opened.traffic.requests == 2 + len(chunks)


def opened_chunks(path: Path) -> tuple[object, ...]:
    with open_bag(path) as opened:
        return opened.chunks()


@pytest.mark.parametrize("compression", [CompressionMode.STORAGE, CompressionMode.MESSAGE])
def test_compressed_bags_are_read_by_range_too(compression: CompressionMode, server: S3Server, tmp_path: Path) -> None:
    del server
    path = write(tmp_path / "packed", compression=compression)
    uri = put(path, f"s3://{BUCKET}/packed-{compression.name}")
    raw, opened = read(uri)
    assert raw == read(path)[0]
    assert opened.traffic is not None


def test_a_folder_of_a_store_is_a_bag_too(bag: tuple[str, Path]) -> None:
    raw, opened = read(f"s3://{BUCKET}/run", "/seldom")
    assert len(raw) == 1
    assert fetched(opened) < bag[1].stat().st_size // 4


# ------------------------------------------------------------------------------------------------ copies


def test_sqlite_bags_are_copied_first_and_the_copy_is_removed(
    server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    del server
    path = write(tmp_path / "lite", "sqlite3")
    uri = put(path, f"s3://{BUCKET}/lite")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "copies"))
    (tmp_path / "copies").mkdir()
    with caplog.at_level(logging.WARNING), open_bag(uri) as opened:
        assert opened.traffic is None
        assert list((tmp_path / "copies").iterdir())
        assert list(opened.raw()) == list(open_bag(path).raw())
    assert not list((tmp_path / "copies").iterdir())
    size = sum(file.stat().st_size for file in path.iterdir()) / 1e6
    assert "lite.db3 is not MCAP, the only format that can be read by range" in caplog.text
    assert f"copied to this machine first ({size:.1f} MB)" in caplog.text


def test_mcap_without_an_index_is_copied_first(
    server: S3Server, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    del server
    pytest.importorskip("mcap")
    from mcap.writer import CompressionType, IndexType
    from mcap.writer import Writer as Plain

    path = tmp_path / "plain.mcap"
    with path.open("wb") as file:
        without = dict.fromkeys(
            ("use_chunking", "use_statistics", "use_summary_offsets", "repeat_channels", "repeat_schemas"), False
        )
        plain = Plain(file, compression=CompressionType.NONE, index_types=IndexType.NONE, **without)
        plain.start("ros2")
        schema = plain.register_schema(STRING, "ros2msg", b"string data")
        channel = plain.register_channel("/a", "cdr", schema)
        plain.add_message(
            channel, T0, default_store().serialize_cdr(default_store().types[STRING](data="x"), STRING), T0
        )
        plain.finish()
    uri = put(path, f"s3://{BUCKET}/plain.mcap")
    with caplog.at_level(logging.WARNING):
        assert read(uri)[0] == read(path)[0]
    assert "plain.mcap has no chunk index" in caplog.text


# ------------------------------------------------------------------------------------------------ what goes wrong


def test_a_bag_that_is_not_there_is_said(server: S3Server) -> None:
    del server
    for uri in (f"s3://{BUCKET}/none.mcap", "s3://no-such-bucket/run.mcap", f"s3://{BUCKET}/no-folder"):
        with pytest.raises(FileError, match="no such file"):
            open_bag(uri)


@pytest.mark.parametrize("uri", ["nosuch://bucket/run.mcap"])
def test_a_scheme_that_nobody_knows_is_said(uri: str) -> None:
    with pytest.raises(FileError, match=r"Pass a path, or a URI such as s3://"):
        open_bag(uri)


def test_a_bag_that_is_cut_off_is_said(bag: tuple[str, Path], tmp_path: Path) -> None:
    (tmp_path / "cut.mcap").write_bytes(bag[1].read_bytes()[:-1000])
    uri = put(tmp_path / "cut.mcap", f"s3://{BUCKET}/cut.mcap")
    with pytest.raises(FileError, match=r"ends before its index.*mcap recover cut\.mcap"):
        open_bag(uri)


def test_a_store_that_fails_midway_is_said_and_what_came_before_is_good(tmp_path: Path) -> None:
    path = write(tmp_path / "run")
    with running_server() as failing:
        fs = fsspec.filesystem("s3", endpoint_url=failing.endpoint, key="nobody", secret="nothing")  # noqa: S106
        fs.mkdir("other")
        fs.pipe_file("other/run.mcap", (path / "run.mcap").read_bytes())
        before = dict(os.environ)
        os.environ.update(failing.environment())
        fsspec.filesystem("s3").clear_instance_cache()
        try:
            with open_bag("s3://other/run.mcap") as opened:
                messages = opened.messages()
                assert next(messages).decode().data == "begin"
                failing.stop()
                with pytest.raises(StoreError, match="--resume"):
                    list(messages)
        finally:
            os.environ.clear()
            os.environ.update(before)
            fsspec.filesystem("s3").clear_instance_cache()


def test_a_file_that_a_store_loses_midway_is_no_damaged_bag(tmp_path: Path) -> None:
    path = write(tmp_path / "run")
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/lost/run.mcap", (path / "run.mcap").read_bytes())
    with open_bag("memory://lost/run.mcap") as opened:
        messages = opened.messages()
        assert next(messages).decode().data == "begin"
        fs.rm("/lost/run.mcap")
        with pytest.raises(StoreError, match="run the same command with --resume"):
            list(messages)


def test_missing_credentials_are_said_as_such() -> None:
    class NoCredentialsError(Exception):
        """As botocore's."""

    error = store_error("s3://lab/run.mcap", NoCredentialsError("Unable to locate credentials"))
    assert "Check the store's credentials on this machine" in str(error)


# ------------------------------------------------------------------------------------------------ names and facts


@pytest.mark.parametrize(
    ("text", "remote"),
    [("s3://b/x.mcap", True), ("gs://b", True), ("file:///bags/x", False), ("run1", False), ("/a/b", False),
     ("c:/x", False), ("://x", False), ("a b://x", False)],
)  # fmt: skip
def test_what_has_a_scheme_is_remote(text: str, remote: bool) -> None:
    assert is_remote(text) == remote


def test_paths_and_uris_are_joined_as_such() -> None:
    assert joined("s3://b/run/", "run.mcap") == "s3://b/run/run.mcap"
    assert joined("file:///bags/a%20b", "x") == "/bags/a b/x"
    assert local_path("file:///bags/a") == Path("/bags/a")


def test_facts_and_summary_tell_one_file_from_another(bag: tuple[str, Path]) -> None:
    uri, path = bag
    assert facts_of(uri).size == facts_of(path).size == path.stat().st_size
    assert facts_of(uri).version
    assert path.read_bytes().endswith(summary_bytes(uri))
    assert len(summary_bytes(uri)) < TAIL


def test_a_stream_gives_the_bytes_of_its_file_wherever_it_is_read() -> None:
    data = bytes(range(256)) * 4096
    stream = RangedStream(lambda first, last: data[first:last], len(data))
    stream.expect([(100_000, 300_000)])
    for at, length in (
        (0, 10),
        (99_990, 20),
        (100_010, 199_000),
        (299_999, 5),
        (len(data) - 3, 10),
        (700_000, 300_000),
    ):
        stream.seek(at)
        assert stream.read(length) == data[at : at + length]
    stream.seek(-4, os.SEEK_END)
    assert stream.read() == data[-4:]
    assert stream.read(1) == b""
    buffer = bytearray(5)
    stream.seek(2)
    assert stream.readinto(buffer) == 5
    assert bytes(buffer) == data[2:7]


def test_a_store_that_gives_too_little_is_noticed() -> None:
    stream = RangedStream(lambda first, last: b"x" * (last - first - 1), 1000)
    with pytest.raises(OSError, match="999 bytes arrived instead of 1000"):
        stream.read(10)
