# SPDX-License-Identifier: Apache-2.0
"""Hostile files, each with the reader that a user's command would give it to."""

from __future__ import annotations

import bz2
import functools
import io
import json
import operator
import os
import socket
import sqlite3
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Concatenate, ParamSpec

import cv2
import numpy as np
from backports import zstd
from lz4 import frame as lz4
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore
from tables import called

HUGE = 1 << 40
Maker = Callable[[Path], Path]
P = ParamSpec("P")


def png_chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, data: bytes = b"", colour: int = 0, depth: int = 8, end: bool = True) -> bytes:
    """A PNG with right checksums, whatever its header says."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = [png_chunk(b"IHDR", header), png_chunk(b"IDAT", data)]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts) + (png_chunk(b"IEND", b"") if end else b"")


@functools.cache
def png_bomb(side: int) -> bytes:
    """A whole grey PNG: small on the disk, side × side bytes when decoded."""
    packer, row = zlib.compressobj(1), bytes(side + 1)
    return png(side, side, b"".join([*(packer.compress(row * 100) for _ in range(side // 100)), packer.flush()]))


def jpeg(width: int, height: int, rest: bytes = b"\xff\xd9") -> bytes:
    return b"\xff\xd8\xff\xc0" + struct.pack(">HBHHB", 11, 8, height, width, 1) + b"\x01\x11\x00" + rest


def real_image(suffix: str) -> bytes:
    noise = np.random.default_rng(0).integers(0, 255, (48, 64, 3), np.uint8)
    return bytes(cv2.imencode(suffix, noise)[1].tobytes())


def tiff(tags: list[tuple[int, int, int, int]], count: int | None = None) -> bytes:
    entries = b"".join(struct.pack("<HHII", *tag) for tag in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags) if count is None else count) + entries + b"\0\0\0\0"


def big_tiff(width: int, height: int) -> bytes:
    entries = b"".join(struct.pack("<HHQQ", tag, 4, 1, value) for tag, value in ((256, width), (257, height)))
    return b"II+\0" + struct.pack("<HHQQ", 8, 0, 16, 2) + entries + bytes(8)


def webp(kind: bytes, data: bytes) -> bytes:
    body = b"WEBP" + kind + struct.pack("<I", len(data)) + data
    return b"RIFF" + struct.pack("<I", len(body)) + body


def npy(header: str, data: bytes = b"", version: int = 1) -> bytes:
    text = header.encode("latin-1")
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def pickled() -> bytes:
    file = io.BytesIO()
    np.save(file, np.array([{"a": 1}], object), allow_pickle=True)
    return file.getvalue()


def shaped(shape: str, kind: str = "<f4") -> str:
    return f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}\n"


def maker(make: Callable[Concatenate[Path, P], Path]) -> Callable[P, Maker]:
    """Of a function of a folder and more, one of what is more that gives a function of the folder."""
    return lambda *given, **more: lambda folder: make(folder, *given, **more)


@maker
def data(folder: Path, name: str, content: bytes | Callable[[], bytes]) -> Path:
    (folder / name).write_bytes(content() if callable(content) else content)
    return folder / name


@maker
def pipe(folder: Path, name: str) -> Path:
    os.mkfifo(folder / name)
    return folder / name


@maker
def link(folder: Path, name: str, target: str) -> Path:
    (folder / name).symlink_to(target)
    return folder / name


@maker
def unix_socket(folder: Path, name: str) -> Path:
    here = Path.cwd()
    os.chdir(folder)  # the name of a socket has at most 107 bytes
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(name)
    finally:
        os.chdir(here)
    return folder / name


@maker
def sparse(folder: Path, name: str, size: int, begin: bytes = b"") -> Path:
    with (folder / name).open("wb") as file:
        file.write(begin)
        file.truncate(size)
    return folder / name


@maker
def a_folder(folder: Path, name: str) -> Path:
    (folder / name).mkdir()
    return folder / name


def named(name: str) -> Maker:
    return lambda folder: folder / name


def within(make: Maker) -> Maker:
    return lambda folder: make(folder).parent


CAMERA = json.dumps({"width": 64, "height": 48, "k": [60, 0, 32, 0, 60, 24, 0, 0, 1]}).encode()


@maker
def frame(folder: Path, **changes: Maker) -> Path:
    place = folder / "frame"
    place.mkdir()
    depth = np.full((48, 64), 1000, np.uint16)
    files = {"rgb.png": real_image(".png"), "depth.png": bytes(cv2.imencode(".png", depth)[1].tobytes()),
             "camera_info.json": CAMERA}  # fmt: skip
    for name in files.keys() - changes.keys():
        (place / name).write_bytes(files[name])
    for change in changes.values():
        change(place)
    return place


@maker
def detections(folder: Path, mask: str, *others: Maker) -> Path:
    for other in others:
        other(folder)
    entry = {"id": "d1", "label": "cup", "box": [1, 1, 9, 9], "mask": mask}
    path = folder / "detections.json"
    path.write_text(json.dumps({"detections": [entry]}))
    return path


def cases(line: bytes) -> Maker:
    return within(data("cases.jsonl", line))


MAGIC = b"\x89MCAP0\r\n"


def record(kind: int, content: bytes, length: int | None = None) -> bytes:
    return struct.pack("<BQ", kind, len(content) if length is None else length) + content


def text(words: bytes) -> bytes:
    return struct.pack("<I", len(words)) + words


HEAD = MAGIC + record(1, text(b"ros2") + text(b"test"))


def mcap(body: bytes, summary: bytes | None = None) -> bytes:
    at = len(HEAD + body)
    end = record(2, struct.pack("<QQI", at if summary else 0, 0, 0)) + MAGIC
    return HEAD + body + (summary or b"") + end


def chunk(compression: bytes, packed: bytes, size: int) -> bytes:
    return record(6, struct.pack("<QQQI", 0, 1, size, 0) + text(compression) + struct.pack("<Q", len(packed)) + packed)


def chunked(compression: bytes, packed: bytes, size: int, told: int | None = None) -> bytes:
    body = chunk(compression, packed, size)
    index = struct.pack("<QQQQI", 0, 1, len(HEAD), len(body), 10) + struct.pack("<HQ", 1, len(HEAD) + len(body))
    index += struct.pack("<Q", 31) + text(compression)
    index += struct.pack("<QQ", len(packed) if told is None else told, size)
    schema = record(3, struct.pack("<H", 1) + text(b"std_msgs/msg/String") + text(b"ros2msg") + text(b"string data"))
    channel = record(4, struct.pack("<HH", 1, 1) + text(b"/a") + text(b"cdr") + text(b""))
    statistics = struct.pack("<QHIIIIQQ", 1, 1, 1, 0, 0, 1, 0, 1) + text(struct.pack("<HQ", 1, 1))
    messages = record(7, struct.pack("<HI", 1, 16) + struct.pack("<QQ", 1, 0))
    return mcap(body + messages, schema + channel + record(8, index) + record(11, statistics))


@maker
def bag(folder: Path, metadata: bytes, *others: Maker) -> Path:
    place = folder / "bag"
    place.mkdir()
    (place / "metadata.yaml").write_bytes(metadata)
    for other in others:
        other(place)
    return place


def metadata(name: str = "a.mcap") -> bytes:
    return (
        "rosbag2_bagfile_information:\n  version: 5\n  storage_identifier: mcap\n"
        f"  relative_file_paths: [{name}]\n  duration: {{nanoseconds: 1}}\n"
        "  starting_time: {nanoseconds_since_epoch: 0}\n  message_count: 1\n"
        "  topics_with_message_count: []\n  compression_format: ''\n  compression_mode: ''\n"
    ).encode()


def parameter(value: bytes) -> bytes:
    return b"/**:\n  ros__parameters:\n    sync_slop: " + value + b"\n"


@maker
def urdf_with_mesh(folder: Path, name: str, *others: Maker) -> Path:
    for other in others:
        other(folder)
    mesh = f'<collision><geometry><mesh filename="{name}"/></geometry></collision>'
    return data("a.urdf", f'<robot name="r"><link name="a">{mesh}</link></robot>'.encode())(folder)


@maker
def database(folder: Path, *statements: str) -> Path:
    path = folder / "bag.db3"
    with sqlite3.connect(path) as made:
        for statement in (*TOPICS, *statements):
            made.execute(statement)
    made.close()
    return path


@maker
def compressed_bag(folder: Path, mode: str) -> Path:
    """A bag of rosbags' own, compressed, whose one message or file is replaced by 2 GB of zeros."""
    place, store = folder / "bag", get_typestore(Stores.ROS2_HUMBLE)
    writer = Writer(place, version=8, storage_plugin=StoragePlugin.MCAP)
    writer.set_compression(CompressionMode[mode], CompressionFormat.ZSTD)
    with writer:
        topic = writer.add_connection("/a", "std_msgs/msg/String", typestore=store)
        if mode == "FILE":
            writer.write(topic, 1, b"x")
        else:
            writer.storage.write(topic, 1, zstd_bomb(32))
            writer.counts[topic.id] += 1
    if mode == "FILE":
        (place / "bag.mcap.zstd").write_bytes(zstd_bomb(32))
    return place


TOPICS = (
    "CREATE TABLE topics(id INTEGER PRIMARY KEY, name TEXT, type TEXT, serialization_format TEXT, offered_qos_profiles "
    "TEXT)",
    "INSERT INTO topics VALUES (1, '/a', 'std_msgs/msg/String', 'cdr', '')",
)
PLAIN = "CREATE TABLE messages(id INTEGER, topic_id INTEGER, timestamp INTEGER, data BLOB)"
TRIGGER = "CREATE TRIGGER t AFTER INSERT ON messages BEGIN DELETE FROM messages; END"
ENDLESS = (
    "CREATE VIEW messages AS WITH RECURSIVE n(id) AS (SELECT 1 UNION ALL SELECT id + 1 FROM n) "
    "SELECT id, 1 AS topic_id, id AS timestamp, zeroblob(500000000) AS data FROM n"
)
LARGE_MESSAGE = "INSERT INTO messages VALUES (1, 1, 1, zeroblob(3e8))"
COMPUTED = (
    "CREATE TABLE messages(id INTEGER PRIMARY KEY, topic_id INTEGER, timestamp INTEGER, "
    "data BLOB GENERATED ALWAYS AS (zeroblob(900000000)))"
)


LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x]\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)} [{', '.join(['*' + chr(97 + n)] * 9)}]\n".encode() for n in range(12)
)
MERGES = b"a: &a {x: 1}\n" + b"".join(
    f"{chr(98 + n)}: &{chr(98 + n)}\n  <<: [{', '.join(['*' + chr(97 + n)] * 9)}]\n".encode() for n in range(12)
)
XML_LAUGHS = (
    b'<?xml version="1.0"?><!DOCTYPE robot [<!ENTITY a "ha">'
    + b"".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">'.encode() for n in range(12))
    + b"]><robot name='r'>&m;</robot>"
)


def zeros(size: int) -> bytes:
    packer, piece = zlib.compressobj(9), bytes(1 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(size >> 20)), packer.flush()])


def many_png_chunks(count: int) -> bytes:
    return png(64, 48, end=False) + png_chunk(b"tEXt", b"a\0b") * count


def attributes(count: int) -> bytes:
    return b"<robot %s/>" % b" ".join(b'a%d="1"' % number for number in range(count))


def urdf(size: bytes) -> bytes:
    """A robot of one link with a box, or another form, as its collision geometry."""
    box = b'<collision><geometry><box size="%s"/></geometry></collision>' % size
    return b'<robot name="r"><link name="a">%s</link></robot>' % box


def urdf_chain(count: int) -> bytes:
    joint = b'<joint name="j%d" type="fixed"><parent link="a%d"/><child link="a%d"/></joint>'
    links = b"".join(b'<link name="a%d"/>' % number for number in range(count))
    joints = b"".join(joint % (number, number, number + 1) for number in range(count - 1))
    return b'<robot name="r">%s%s</robot>' % (links, joints)


def many_chunks(count: int) -> bytes:
    """Chunks of 100 MB of zeros, in a file of some kilobytes that has an index of them."""
    size = 100 << 20
    body = chunk(b"zstd", zstd.compress(bytes(size)), size)
    index = b"".join(chunk_index(len(HEAD) + number * len(body), len(body), size) for number in range(count))
    return mcap(body * count, index)


def named_chunk(count: int) -> bytes:
    """One chunk that the index names again and again."""
    body = chunk(b"", b"x" * 50, 50)
    return mcap(body, chunk_index(len(HEAD), len(body), 50) * count)


def chunk_index(at: int, length: int, size: int) -> bytes:
    return record(8, struct.pack("<QQQQIQ", 0, 1, at, length, 0, 0) + text(b"") + struct.pack("<QQ", size, size))


def ros1_record(header: dict[bytes, bytes], content: bytes) -> bytes:
    fields = b"".join(text(name + b"=" + value) for name, value in header.items())
    return text(fields) + text(content)


def ros1(compression: bytes, packed: bytes) -> bytes:
    one, no = struct.pack("<I", 1), bytes(4)
    definition = ros1_record({b"op": b"\7", b"conn": no, b"topic": b"/a"}, b"".join(
        text(field) for field in (b"topic=/a", b"type=std_msgs/String", b"md5sum=" + b"9" * 32,
                                  b"message_definition=string data\n")))  # fmt: skip
    begin = b"#ROSBAG V2.0\n"
    first = {b"op": b"\3", b"index_pos": bytes(8), b"conn_count": one, b"chunk_count": one}
    start = len(begin + ros1_record(first, b""))
    body = ros1_record({b"op": b"\5", b"compression": compression, b"size": struct.pack("<I", 1000)}, packed)
    body += ros1_record({b"op": b"\4", b"ver": one, b"conn": no, b"count": one}, bytes(12))
    facts = {b"op": b"\6", b"ver": one, b"chunk_pos": struct.pack("<Q", start), b"start_time": bytes(8)}
    index = definition + ros1_record({**facts, b"end_time": bytes(8), b"count": one}, no + one)
    first[b"index_pos"] = struct.pack("<Q", start + len(body))
    return begin + ros1_record(first, b"") + body + index


@functools.cache
def bz2_bomb() -> bytes:
    return bz2.compress(bytes(128 << 20)) * 4


@functools.cache
def zstd_bomb(pieces: int = 8) -> bytes:
    """Zeros, 64 MB a piece, in a few kilobytes."""
    packer, piece = zstd.ZstdCompressor(), bytes(64 << 20)
    return b"".join([*(packer.compress(piece) for _ in range(pieces)), packer.flush()])


def large_chunk() -> bytes:
    """A chunk of the largest size that is read, whose one message claims more."""
    content = record(5, bytes((104 << 20) - 9), HUGE)
    return chunked(b"zstd", zstd.compress(content), len(content))


@functools.cache
def lz4_bomb() -> bytes:
    """512 MB of zeros in 2 MB."""
    packer, piece = lz4.LZ4FrameCompressor(), bytes(64 << 20)
    return b"".join([packer.begin(), *(packer.compress(piece) for _ in range(8)), packer.flush()])


@maker
def large_record(folder: Path) -> Path:
    """A message of 8 GB, of a file that takes no room."""
    size = 8 << 30
    path = sparse("a.mcap", size, HEAD + struct.pack("<BQ", 5, size - len(HEAD) - 9))(folder)
    with path.open("ab") as file:
        file.write(record(2, struct.pack("<QQI", 0, 0, 0)) + MAGIC)
    return path


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "+": lambda *parts: functools.reduce(operator.add, parts),
    "*": operator.mul,
    "%": operator.mod,
    "bytes": lambda told: told.encode("latin-1") if isinstance(told, str) else bytes(told),
    "list": lambda *parts: list(parts),
    "cut": lambda whole, end: whole[:end],
    "join": lambda between, parts: between.join(parts),
    "replace": bytes.replace,
    "the": lambda name: globals()[name],
    "struct.pack": struct.pack,
    "zlib.compress": zlib.compress,
    "zstd.compress": zstd.compress,
}
"""What hostile_files.jsonl calls beside the functions of this module."""


def _rows() -> Iterator[tuple[str, tuple[str, Maker]]]:
    for line in Path(__file__).with_suffix(".jsonl").read_text(encoding="utf-8").splitlines():
        name, reader, told = json.loads(line)
        yield name, (reader, lambda folder, told=told: called(told, globals() | FUNCTIONS)(folder))


HOSTILE: dict[str, tuple[str, Maker]] = dict(_rows())
HOSTILE |= {f"doctor: {name}": ("doctor", make) for name, (reader, make) in HOSTILE.items() if reader == "bag"}
"""Name → reader (hostile_reading.READERS) and what makes the file."""
