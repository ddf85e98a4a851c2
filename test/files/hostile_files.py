# SPDX-License-Identifier: Apache-2.0
"""Hostile files, each with the reader that a user's command would give it to."""

from __future__ import annotations

import bz2
import functools
import io
import json
import os
import socket
import sqlite3
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec

import cv2
import numpy as np
from backports import zstd
from lz4 import frame as lz4
from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer
from rosbags.typesys import Stores, get_typestore

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
    """A TIFF of one directory of (tag, type, number, value)."""
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


# ------------------------------------------------------------------------------------------------ ways to make a file


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
    """The folder in which a file is made."""
    return lambda folder: make(folder).parent


# ------------------------------------------------------------------------------------------------ folders


CAMERA = json.dumps({"width": 64, "height": 48, "k": [60, 0, 32, 0, 60, 24, 0, 0, 1]}).encode()


@maker
def frame(folder: Path, **changes: Maker) -> Path:
    """A good frame folder, but for one file."""
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


# ------------------------------------------------------------------------------------------------ bags

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
    """A file of one chunk, its index and its statistics."""
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
        for statement in statements:
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
            assert writer.storage is not None
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

# ------------------------------------------------------------------------------------------------ texts

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

HOSTILE: dict[str, tuple[str, Maker]] = {
    # images
    "png: empty": ("rgb", data("a.png", b"")),
    "png: a text": ("rgb", data("a.png", b"hello")),
    "png: signature alone": ("rgb", data("a.png", b"\x89PNG\r\n\x1a\n")),
    "png: cut off": ("rgb", data("a.png", lambda: real_image(".png")[:2000])),
    "png: 60000 x 60000": ("rgb", data("a.png", png(60_000, 60_000))),
    "png: 2^31 x 2^31": ("rgb", data("a.png", png(2**31 - 1, 2**31 - 1))),
    "png: 20000 x 20000, whole": ("rgb", data("a.png", lambda: png_bomb(20_000))),
    "png: as depth": ("depth", data("a.png", lambda: png_bomb(20_000))),
    "png: 16 bit and four channels": ("rgb", data("a.png", png(5000, 5000, colour=6, depth=16))),
    "png: width 0": ("rgb", data("a.png", png(0, 48))),
    "png: unknown colour type": ("rgb", data("a.png", png(64, 48, colour=7))),
    "png: without pixels": ("rgb", data("a.png", png(64, 48))),
    "png: too few pixels": ("rgb", data("a.png", png(64, 48, zlib.compress(bytes(100))))),
    "png: pixels that are no zlib": ("rgb", data("a.png", png(64, 48, b"\xff" * 1000))),
    "png: without end": ("rgb", data("a.png", png(64, 48, end=False))),
    "png: wrong checksum": ("rgb", data("a.png", lambda: real_image(".png")[:-20] + bytes(20))),
    "png: chunk of 4 GB": ("rgb", data("a.png", b"\x89PNG\r\n\x1a\n\xff\xff\xff\xffIHDR" + bytes(20))),
    "jpeg: begin alone": ("rgb", data("a.jpg", b"\xff\xd8")),
    "jpeg: cut off": ("rgb", data("a.jpg", lambda: real_image(".jpg")[:500])),
    "jpeg: 65535 x 65535": ("rgb", data("a.jpg", jpeg(65_535, 65_535))),
    "jpeg: height 0": ("rgb", data("a.jpg", jpeg(64, 0))),
    "jpeg: no frame": ("rgb", data("a.jpg", b"\xff\xd8\xff\xda\x00\x02" + bytes(2000) + b"\xff\xd9")),
    "jpeg: fill bytes without end": ("rgb", data("a.jpg", b"\xff\xd8" + b"\xff" * 2_000_000)),
    "jpeg: segment of length 0": ("rgb", data("a.jpg", b"\xff\xd8\xff\xe0\x00\x00" + bytes(100) + b"\xff\xd9")),
    "jpeg: 5000 scans": ("rgb", data("a.jpg", jpeg(5000, 5000, b"\xff\xda\x00\x08\x01\x01\x00\x00\x3f\x00" * 5000
                                               + b"\xff\xd9"))),
    "tiff: 60000 x 60000": ("depth", data("a.tiff", tiff([(256, 4, 1, 60_000), (257, 4, 1, 60_000)]))),
    "tiff: a tile of 60000 x 60000": ("depth", data("a.tiff", tiff([(256, 4, 1, 64), (257, 4, 1, 48),
                                                                     (322, 4, 1, 60_000), (323, 4, 1, 60_000)]))),
    "tiff: 65535 channels": ("depth", data("a.tiff", tiff([(256, 4, 1, 640), (257, 4, 1, 480), (277, 3, 1, 65_535)]))),
    "tiff: tags without end": ("depth", data("a.tiff", tiff([], 65_535))),
    "tiff: directory behind the end": ("depth", data("a.tiff", b"II*\0\xff\xff\xff\x7f")),
    "tiff: no size": ("depth", data("a.tiff", tiff([(258, 3, 1, 16)]))),
    "tiff: big, 2^40 x 2^40": ("depth", data("a.tiff", big_tiff(HUGE, HUGE))),
    "tiff: header alone": ("depth", data("a.tiff", b"MM\0*")),
    "bmp: 60000 x 60000": ("rgb", data("a.bmp", b"BM" + bytes(12) + struct.pack("<IiiHHI", 40, 60_000, 60_000, 1, 24, 0)
                                       + bytes(24))),
    "bmp: negative width": ("rgb", data("a.bmp", b"BM" + bytes(12) + struct.pack("<Iii", 40, -5, 5) + bytes(40))),
    "webp: 16384 x 16384": ("rgb", data("a.webp", webp(b"VP8X", bytes(4) + b"\xff\x3f\0\xff\x3f\0" + bytes(20)))),
    "webp: lossless, 16384 x 16384": ("rgb", data("a.webp", webp(b"VP8L", b"\x2f\xff\xff\xff\x0f" + bytes(20)))),
    "webp: cut off": ("rgb", data("a.webp", b"RIFF\0\0\0\0WEBPVP8 ")),
    "gif": ("rgb", data("a.gif", b"GIF89a\xff\xff\xff\xff" + bytes(100))),
    "jpeg 2000": ("rgb", data("a.jp2", b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(100))),
    "pnm: 99999 x 99999": ("rgb", data("a.ppm", b"P6\n99999 99999\n255\n")),
    "hdr": ("rgb", data("a.hdr", b"#?RADIANCE\nFORMAT=32-bit_rle_rgbe\n\n-Y 99999 +X 99999\n")),
    "image: a zip": ("rgb", data("a.png", b"PK\x03\x04" + bytes(1000))),
    "image: a pipe": ("rgb", pipe("a.png")),
    "image: a socket": ("rgb", unix_socket("a.png")),
    "image: a folder": ("rgb", a_folder("a.png")),
    "image: /dev/zero": ("rgb", link("a.png", "/dev/zero")),
    "image: /dev/stdin": ("rgb", named("/dev/stdin")),
    "image: a loop of links": ("rgb", link("a.png", "a.png")),
    "image: a link to nothing": ("rgb", link("a.png", "nothing")),
    "image: 10 GB": ("rgb", sparse("a.png", 10 << 30, b"\x89PNG\r\n\x1a\n")),
    "image: a null character": ("rgb", named("a\0.png")),
    "image: a name of 5000 characters": ("rgb", named("a" * 5000)),
    # arrays
    "npy: a pickle": ("depth", data("a.npy", pickled)),
    "npy: 10^12 numbers": ("depth", data("a.npy", npy(shaped("(1000000, 1000000)")))),
    "npy: a negative shape": ("depth", data("a.npy", npy(shaped("(-1, 5)"), bytes(64)))),
    "npy: a shape of 10^5 sides": ("depth", data("a.npy", npy(shaped("(" + "1," * 1500 + ")"), bytes(4)))),
    "npy: fewer numbers than told": ("depth", data("a.npy", npy(shaped("(48, 64)"), bytes(100)))),
    "npy: a header of 4 GB": ("depth", data("a.npy", b"\x93NUMPY\x02\0\xff\xff\xff\xff" + bytes(100))),
    "npy: a header of brackets": ("depth", data("a.npy", npy("(" * 4000))),
    "npy: code in the header": ("depth", data("a.npy", npy("__import__('os').system('true')"))),
    "npy: version 9": ("depth", data("a.npy", npy(shaped("(4,)"), bytes(16), 9))),
    "npy: texts": ("depth", data("a.npy", npy(shaped("(2, 2)", "<U1000"), bytes(16_000)))),
    "npy: empty": ("depth", data("a.npy", b"")),
    "npy: a pipe": ("depth", pipe("a.npy")),
    "npy: 10 GB": ("depth", sparse("a.npy", 10 << 30, npy(shaped("(1000, 1000)")))),
    # JSON
    "json: 100,000 lists": ("camera", data("a.json", b"[" * 100_000)),
    "json: 100,000 objects": ("camera", data("a.json", b'{"a":' * 100_000)),
    "json: deep in a field that is not read": ("camera", data("a.json", CAMERA[:-1] + b', "x": ' + b"[" * 3_000_000)),
    "json: 10 MB": ("camera", data("a.json", b" " * 10_000_000 + CAMERA)),
    "json: a number of 5000 digits": ("camera", data("a.json", CAMERA.replace(b"64", b"9" * 5000))),
    "json: not UTF-8": ("camera", data("a.json", b'{"width": "\xff\xfe"}')),
    "json: a list": ("camera", data("a.json", b"[]")),
    "json: null characters": ("camera", data("a.json", bytes(1000))),
    "json: empty": ("camera", data("a.json", b"")),
    "json: a million empty lists": ("measured", data("a.json", b"[" + b"[]," * 300_000 + b"[]]")),
    "json: 2 MB of empty lists": ("split", data("a.json", b"[" + b"[]," * 690_000 + b"[]]")),
    "json: brackets within texts": ("split", data("a.json", b'["' + b'\\"[{' * 500_000 + b'"]')),
    "json: a text without end": ("split", data("a.json", b'"' + b"\\" * 3_000_000)),
    "json: 70 levels": ("measured", data("a.json", b"[" * 70 + b"]" * 70)),
    "json: a pipe": ("measured", pipe("a.json")),
    "run: 70 MB": ("run", sparse("a.json", 70 << 20)),
    "run: 60 MB of blank lines": ("run", data("a.json", b"\n" * (60 << 20))),
    "run: 100,000 lists": ("run", data("a.json", b"[" * 100_000)),
    "answers: a line of 2 MB": ("answers", data("a.jsonl", b'{"a": "' + b"x" * 2_000_000 + b'"}\n')),
    "answers: 100,000 objects": ("answers", data("a.jsonl", b'{"a":' * 100_000 + b"\n")),
    "answers: 10 GB": ("answers", sparse("a.jsonl", 10 << 30)),
    # frames
    "mask: ..": ("detections", detections("../../etc/passwd")),
    "mask: absolute": ("detections", detections("/etc/passwd")),
    "mask: a link that leaves the folder": ("detections", detections("m.png", link("m.png", "/etc/passwd"))),
    "mask: a device": ("detections", detections("m.png", link("m.png", "/dev/zero"))),
    "mask: in a folder that is a link": ("detections", detections("masks/0.png", link("masks", "/etc"))),
    "mask: a pipe": ("detections", detections("m.png", pipe("m.png"))),
    "mask: a null character": ("detections", detections("m\0.png")),
    "mask: 60000 x 60000": ("detections", detections("m.png", data("m.png", png(60_000, 60_000)))),
    "mask: 300 characters": ("detections", detections("m" * 300)),
    "mask: 400 MB": ("detections", detections("m.png", data("m.png", lambda: png(64, 48, zeros(400 << 20))))),
    "mask: 1.5 million chunks": ("detections", detections("m.png", data("m.png", lambda: many_png_chunks(1_500_000)))),
    "mask: a loop of links": ("detections", detections("m.png", link("m.png", "m.png"))),
    "frame: rgb is a link to a device": ("frame", frame(**{"rgb.png": link("rgb.png", "/dev/zero")})),
    "frame: depth is a link out of it": ("frame", frame(**{"depth.png": link("depth.png", "/etc/passwd")})),
    "frame: depth is a pipe": ("frame", frame(**{"depth.png": pipe("depth.png")})),
    "frame: camera_info is a pipe": ("frame", frame(**{"camera_info.json": pipe("camera_info.json")})),
    "frame: a pose that is a link out of it": ("frame", frame(pose=link("base_T_camera.json", "/etc/passwd"))),
    "frame: a pose that is a link to nothing": ("frame", frame(pose=link("base_T_camera.json", "/nothing"))),
    "frame: an image of 33 million pixels": ("frame", frame(**{"rgb.png": data("rgb.png", lambda: png_bomb(5700))})),
    "frame: depth of 33 million pixels": ("frame", frame(**{"depth.png": data("depth.png", lambda: png_bomb(5700))})),
    "mask: of 33 million pixels": ("detections", detections("m.png", data("m.png", lambda: png_bomb(5700)))),
    "frame: a loop of links": ("frame", link("frame", "frame")),
    "frame: a device": ("frame", link("frame", "/dev/zero")),
    "cases: a frame outside": ("cases", cases(b'{"frame": "../../etc", "instruction": "the cup"}')),
    "cases: an absolute frame": ("cases", cases(b'{"frame": "/etc", "instruction": "the cup"}')),
    "cases: a frame of 300 characters": ("cases", cases(b'{"frame": "' + b"f" * 300 + b'", "instruction": "the cup"}')),
    "cases: a frame of 200,000 folders": ("cases", cases(b'{"frame": "%s", "instruction": "a"}' % (b"a/" * 200_000))),
    "cases: a line of 2 MB": ("cases", cases(b'{"frame": "' + b"x" * 2_000_000 + b'"}')),
    "cases: a line of 10 GB": ("cases", within(sparse("cases.jsonl", 10 << 30))),
    "cases: a pipe": ("cases", within(pipe("cases.jsonl"))),
    "cases: a link out of the folder": ("cases", within(link("cases.jsonl", "/etc/passwd"))),
    # YAML
    "yaml: ten billion laughs": ("parameters", data("a.yaml", LAUGHS)),
    "yaml: merges": ("parameters", data("a.yaml", MERGES)),
    "yaml: within itself": ("parameters", data("a.yaml", b"a: &a [*a]\n")),
    "yaml: 10,000 levels": ("parameters", data("a.yaml", b"[" * 10_000)),
    "yaml: a Python object": ("parameters", data("a.yaml", b"a: !!python/object/apply:os.system ['true']\n")),
    "yaml: 1 MB": ("parameters", data("a.yaml", b"a: 1\n" * 200_000)),
    "yaml: the 31st of June": ("parameters", data("a.yaml", b"a: 2026-06-31\n")),
    "yaml: a number of 5000 digits": ("parameters", data("a.yaml", b"a: " + b"9" * 5000)),
    "yaml: a number of 100,000 hexadecimal digits": ("parameters", data("a.yaml", parameter(b"0x" + b"f" * 100_000))),
    "yaml: a number of base 60": ("parameters", data("a.yaml", parameter(b":".join([b"1"] * 50_000)))),
    "yaml: an integer without digits": ("parameters", data("a.yaml", parameter(b'!!int ""'))),
    "yaml: not UTF-8": ("parameters", data("a.yaml", b"a: \xff\xfe\n")),
    "yaml: a list": ("parameters", data("a.yaml", b"- 1\n")),
    "yaml: a pipe": ("parameters", pipe("a.yaml")),
    "yaml: of a camera, with laughs": ("preset", data("a.yaml", LAUGHS)),
    # XML
    "xml: ten billion laughs": ("urdf", data("a.urdf", XML_LAUGHS)),
    "xml: an entity of another file": ("urdf", data("a.urdf", b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'
                                                    b"<robot name='r'>&x;</robot>")),
    "xml: a document type elsewhere": ("urdf", data("a.urdf", b'<!DOCTYPE r SYSTEM "http://[::1]:9/x.dtd"><robot/>')),
    "xml: 100,000 levels": ("urdf", data("a.urdf", b"<a>" * 100_000)),
    "xml: a million elements": ("urdf", data("a.urdf", b"<a>" + b"<b/>" * 1_000_000 + b"</a>")),
    "xml: an unknown encoding": ("urdf", data("a.urdf", b'<?xml version="1.0" encoding="klingon"?><robot/>')),
    "xml: 20 MB": ("urdf", sparse("a.urdf", 20 << 20)),
    "xml: no XML": ("urdf", data("a.urdf", b"hello")),
    "xml: a pipe": ("urdf", pipe("a.urdf")),
    "xml: 300,000 attributes of an element": ("urdf", data("a.urdf", lambda: attributes(300_000))),
    "xml: an attribute of 3 million numbers": ("urdf", data("a.urdf", lambda: urdf(b"1 " * 3_000_000))),
    "urdf: a chain of 40,000 links": ("urdf", data("a.urdf", lambda: urdf_chain(40_000))),
    "urdf: a loop of links": ("urdf", link("a.urdf", "a.urdf")),
    "urdf: a mesh of 100 MB": ("urdf", urdf_with_mesh("m.stl", sparse("m.stl", 100 << 20, bytes(80)))),
    "urdf: a mesh with a name of 300 characters": ("urdf", urdf_with_mesh("m" * 300)),
    "xml: a world with laughs": ("world", data("a.sdf", XML_LAUGHS)),
    # bags
    "mcap: empty": ("bag", data("a.mcap", b"")),
    "mcap: cut off": ("bag", data("a.mcap", HEAD)),
    "mcap: a record of 2^62 bytes": ("bag", data("a.mcap", mcap(record(5, b"", 1 << 62)))),
    "mcap: a record of 8 GB that is there": ("bag", lambda folder: _large_record(folder)),
    "mcap: an index that claims 1 TB": ("bag", data("a.mcap", chunked(b"", b"x" * 50, 50, HUGE))),
    "mcap: a chunk that claims 1 TB": ("bag", data("a.mcap", lambda: chunked(b"zstd", zstd.compress(b"x"), HUGE))),
    "mcap: a zstd bomb": ("bag", data("a.mcap", lambda: chunked(b"zstd", zstd_bomb(), 1000))),
    "mcap: 104 MB of a message that goes on": ("bag", data("a.mcap", lambda: large_chunk())),
    "mcap: an lz4 bomb": ("bag", data("a.mcap", lambda: chunked(b"lz4", lz4_bomb(), 1000))),
    "mcap: an unknown compression": ("bag", data("a.mcap", chunked(b"rar", b"x" * 50, 50))),
    "mcap: an index behind the end": ("bag", data("a.mcap", HEAD + record(2, struct.pack("<QQI", HUGE, 0, 0)) + MAGIC)),
    "mcap: a schema of 2 MB": ("bag", data("a.mcap", mcap(b"", record(3, bytes(2_000_000))))),
    "mcap: 60 chunks of 100 MB": ("bag", data("a.mcap", lambda: many_chunks(60))),
    "mcap: 400,000 names of one chunk": ("bag", data("a.mcap", lambda: named_chunk(400_000))),
    "mcap: 3 million records of no known kind": ("bag", data("a.mcap", lambda: mcap(record(0x80, b"") * 3_000_000))),
    "mcap: a pipe": ("bag", pipe("a.mcap")),
    "mcap: /dev/zero": ("bag", link("a.mcap", "/dev/zero")),
    "bag: metadata with laughs": ("bag", bag(b"rosbag2_bagfile_information:\n  x: 1\n" + LAUGHS)),
    "bag: metadata of 5 MB": ("bag", bag(metadata() + b"# " + b"x" * 5_000_000)),
    "bag: metadata that is a pipe": ("bag", within(pipe("metadata.yaml"))),
    "bag: a part that is a link out of it": ("bag", bag(metadata(), link("a.mcap", "/etc/passwd"))),
    "bag: a part that is a device": ("bag", bag(metadata(), link("a.mcap", "/dev/zero"))),
    "bag: a part that is a pipe": ("bag", bag(metadata(), pipe("a.mcap"))),
    "bag: 20,000 times the same part": ("bag", bag(metadata(", ".join(["a.mcap"] * 20_000)))),
    "bag: a part with a name of 300 characters": ("bag", bag(metadata("a" * 300 + ".mcap"))),
    "bag: a part outside": ("bag", bag(metadata("../../../etc/passwd"))),
    "db3: messages without end": ("bag", database(*TOPICS, ENDLESS)),
    "db3: a computed column": ("bag", database(*TOPICS, COMPUTED, "INSERT INTO messages VALUES (1, 1, 1)")),
    "db3: a trigger": ("bag", database(*TOPICS, PLAIN, TRIGGER)),
    "db3: a message of 300 MB": ("bag", database(*TOPICS, PLAIN, LARGE_MESSAGE)),
    "db3: no database": ("bag", data("a.db3", b"hello" * 1000)),
    "db3: a pipe": ("bag", pipe("a.db3")),
    "bag: a message that is a bomb": ("bag", compressed_bag("MESSAGE")),
    "bag: a file that is a bomb": ("bag", compressed_bag("FILE")),
    "bag: of ROS 1": ("bag", data("a.bag", b"#ROSBAG V2.0\n")),
    "bag: of ROS 1, 1 TB without a line end": ("bag", sparse("a.bag", HUGE)),
    "bag: of ROS 1, a record of 4 GB": ("bag", sparse("a.bag", 5 << 30, b"#ROSBAG V2.0\n" + bytes(4) + b"\xff" * 4)),
    "bag: of ROS 1, a bz2 bomb": ("bag", data("a.bag", lambda: ros1(b"bz2", bz2_bomb()))),
    "bag: of ROS 1, an lz4 bomb": ("bag", data("a.bag", lambda: ros1(b"lz4", lz4_bomb()))),
}  # fmt: skip
HOSTILE |= {f"doctor: {name}": ("doctor", make) for name, (reader, make) in HOSTILE.items() if reader == "bag"}
"""Name → reader (hostile_reading.READERS) and what makes the file."""


def zeros(size: int) -> bytes:
    """Zeros, deflated."""
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
    """A bag of ROS 1 with one chunk, which holds one message of one connection."""
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
    """512 MB of zeros."""
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


def _large_record(folder: Path) -> Path:
    """A message of 8 GB, of a file that takes no room."""
    size = 8 << 30
    path = sparse("a.mcap", size, HEAD + struct.pack("<BQ", 5, size - len(HEAD) - 9))(folder)
    with path.open("ab") as file:
        file.write(record(2, struct.pack("<QQI", 0, 0, 0)) + MAGIC)
    return path
