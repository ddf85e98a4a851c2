# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a bag, with fixes: of its files, then of its streams, or of the frame of an evidence bundle.

Of files it checks checksums, index and counts, and says what can still be read from damaged ones.
"""

from __future__ import annotations

import sqlite3
import struct
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from spatial_vlm_ros.doctor.findings import Finding, fail, has_errors, ok, warn
from spatial_vlm_ros.doctor.streams import STREAMS, StreamDoctor
from spatial_vlm_ros.doctor.streams import examine as examine_frame
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.reading import check_regular, member, open_regular, sqlite_file
from spatial_vlm_ros.manipulation.planning.robot_model import robot_of
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.recording.bags import limits
from spatial_vlm_ros.recording.bags.limits import METADATA, bag_files, check_sqlite, metadata
from spatial_vlm_ros.recording.bags.topics import choose_roles, open_bag
from spatial_vlm_ros.recording.evidence.bundle import frame_of, is_bundle, read_bundle, settings_of_bundle
from spatial_vlm_ros.streams.frame_assembler import SECOND, STATIC_TRANSFORMS, TRANSFORMS, SeenRobot

_STORAGES = (".mcap", ".db3")
_MOST_SHOWN = 5  # most faults of one file that are listed


def examine(path: Path, settings: Settings, table_height: float | None = None, told: bool = True) -> list[Finding]:
    """Find problems of a bag as far as it can be read.

    Args:
        table_height: stated height of the support in the base frame, metres; None = not stated.
        told: whether these settings were asked for; else a bundle is examined with the parameters of its decision.
    """
    files = examine_files(path)
    try:
        with open_bag(path) as bag:
            is_evidence = is_bundle(bag)
        if is_evidence:
            bundle = read_bundle(path)
            known = settings if told else settings_of_bundle(bundle)
            try:
                frame, found = frame_of(bundle, known.streams, robot_of(known.streams, known.resolver.depth))
            except FileError:
                raise
            except SpatialVlmError as error:  # decisions without a frame are stored, too
                return [*files, warn("frame", f"not checked: {error}")]
            return [*files, *examine_frame(frame, found or (), known.resolver, table_height)]
        robot = robot_of(settings.streams, settings.resolver.depth)
        return [*files, *examine_bag(path, settings, table_height, robot)]
    except FileError as error:
        if not has_errors(files):
            raise
        return [*files, fail("streams", f"not checked: {error.got}", error.repair)]


def examine_bag(
    path: str | Path, settings: Settings, table_height: float | None = None, robot: SeenRobot | None = None
) -> list[Finding]:
    """Find problems of the camera of a bag.

    Args:
        table_height: stated height of the support in the base frame, metres; None = not stated.
    """
    with open_bag(path) as bag:
        try:
            names = choose_roles(bag.contents, settings.streams)
        except InputError:
            names = choose_roles(bag.contents, settings.streams, with_detections=False)
        role_of = {topic: role for role, topic in names.items()}
        doctor = StreamDoctor(settings, {role: t for role, t in names.items() if role in STREAMS}, robot)
        first = last = 0
        for message in bag.messages(list(role_of)):
            first, last = first or message.log_ns, message.log_ns
            if role_of[message.topic] in (*STREAMS, TRANSFORMS, STATIC_TRANSFORMS):
                doctor.add(role_of[message.topic], message.decode(), message.log_ns)
    return doctor.findings((last - first) / SECOND, table_height)


# ------------------------------------------------------------------------------------------------ files


@dataclass
class _FileFacts:
    """Results for one file: readable messages by topic, their times, faults, and chunks with and without a CRC."""

    counts: Counter[str] = field(default_factory=Counter)
    first_ns: int = 0
    last_ns: int = 0
    faults: list[str] = field(default_factory=list)
    chunks: int = 0
    unchecked: int = 0
    topics: dict[int, str] = field(default_factory=dict)
    """By channel."""

    @property
    def messages(self) -> int:
        return self.counts.total()

    def add(self, topic: str, stamp_ns: int) -> None:
        self.first_ns = stamp_ns if not self.messages else min(self.first_ns, stamp_ns)
        self.last_ns = max(self.last_ns, stamp_ns)
        self.counts[topic] += 1

    def take(self, kind: int, content: bytes) -> None:
        """Store a channel of an MCAP file, or count a message."""
        if kind == limits.CHANNEL:
            number, _, length = struct.unpack_from("<HHI", content)
            self.topics[number] = content[8 : 8 + length].decode("utf-8", "replace")
        elif kind == limits.MESSAGE:
            number, _, stamp = struct.unpack_from("<HIQ", content)
            self.add(self.topics.get(number, f"channel {number}"), stamp)


def examine_files(path: str | Path) -> list[Finding]:
    """Check every file of a bag from its first to its last byte.

    Args:
        path: a folder of rosbag2, or a single .mcap or .db3 file.

    Returns:
        One or more findings for each file, and one for metadata.yaml; an error says what can still be read.
    """
    path = Path(path)
    if path.is_dir() and not (path / METADATA).is_file():
        listed = [member(path, file.name) for file in sorted(path.iterdir()) if file.suffix in _STORAGES]
        if not listed:
            raise FileError(path, f"no {METADATA} in the folder", "pass a folder that `ros2 bag record` wrote")
    else:
        listed = bag_files(path)
    files = [file for file in listed if file.suffix in _STORAGES]
    for file in files:
        check_regular(file, "pass a folder that rosbag2 wrote, or a .mcap or .db3 file")
    findings: list[Finding] = []
    counts: Counter[str] = Counter()
    for file in files:
        facts = _mcap_facts(file) if file.suffix == ".mcap" else _sqlite_facts(file)
        counts += facts.counts
        readable = f"{facts.messages} messages over {(facts.last_ns - facts.first_ns) / 1e9:.1f} s"
        if facts.faults:
            shown = "; ".join(facts.faults[:_MOST_SHOWN])
            more = len(facts.faults) - _MOST_SHOWN
            rest = f"; and {more} more" if more > 0 else ""
            tool = f"`sqlite3 {file.name} .recover | sqlite3 repaired.db3`"
            if file.suffix == ".mcap":
                tool = f"`mcap recover {file.name} -o repaired.mcap`"
            found = f"{shown}{rest}. Still readable: {readable}"
            findings.append(fail(file.name, found, f"{tool} keeps what can be read"))
        elif facts.unchecked:
            bare = f"{facts.unchecked} of {facts.chunks} chunks have no CRC: a wrong bit in them goes unnoticed"
            repair = "record with chunk CRC (rosbag2: noChunkCRC: false in the storage configuration)"
            findings.append(warn(file.name, f"{readable}; {bare}", repair))
        else:
            checked = f", {facts.chunks} chunks with the right CRC" if facts.chunks else ""
            if file.suffix == ".db3":
                checked = "; SQLite has no checksums: a wrong bit in a message goes unnoticed"
            findings.append(ok(file.name, f"{readable}{checked}"))
    if path.is_dir():
        packed = [file for file in listed if file not in files]
        for file in packed:
            found = "compressed as a whole: its records, checksums and counts were not examined"
            findings.append(warn(file.name, found, "unpack the bag (`ros2 bag convert`) to check all of it"))
        findings += _metadata_findings(path, None if packed else counts)
    return findings


def _metadata_findings(folder: Path, counts: Counter[str] | None) -> Iterator[Finding]:
    """Problems of metadata.yaml; `counts`: messages by topic, None if not every file could be examined."""
    repair = f"run `ros2 bag reindex {folder.name}`"
    if not (folder / METADATA).is_file():
        yield warn(METADATA, "missing: the recorder was killed", repair)
        return
    told = metadata(folder)
    names = told["relative_file_paths"]
    missing = [str(name) for name in names if not (folder / Path(str(name)).name).exists()] \
        if isinstance(names, list) else []  # fmt: skip
    if missing:
        yield fail(METADATA, f"missing files: {', '.join(missing)}", f"copy them into the folder, or {repair}")
        return
    try:
        listed = Counter[str]()
        for topic in told["topics_with_message_count"]:  # type: ignore[attr-defined]
            listed[str(topic["topic_metadata"]["name"])] += int(topic["message_count"])
        total = int(told["message_count"])  # type: ignore[call-overload]
    except (KeyError, TypeError, ValueError) as error:
        yield fail(METADATA, f"no counts of messages: {error!r}", repair)
        return
    if counts is None:
        return
    if +listed == +counts and total == counts.total():
        yield ok(METADATA, f"{total} messages, as in the files")
        return
    differ = [f"{name}: {listed[name]} listed, {counts[name]} found" for name in sorted({*listed, *counts})
              if listed[name] != counts[name]]  # fmt: skip
    shown = "; ".join(differ[:_MOST_SHOWN]) or f"{total} messages listed in total, {counts.total()} found"
    yield fail(METADATA, f"counts that differ from the files: {shown}", repair)


# ------------------------------------------------------------------------------------------------ MCAP


def _mcap_facts(path: Path) -> _FileFacts:
    """Read an MCAP file from its beginning as far as possible."""
    facts = _FileFacts()
    with open_regular(path, "give a bag") as file:
        size, summary = path.stat().st_size, 0
        try:
            end, summary, _, crc = limits.footer(file)
            size = end.at
            if summary and crc and limits.crc_of(file, summary, end.content_at + limits.CRC_IN_FOOTER) != crc:
                facts.faults.append("the CRC of the index is wrong")
        except limits.McapDamage as error:
            facts.faults.append(error.words)
        if summary:
            with suppress(limits.McapDamage, struct.error):  # said below; channels in an unreadable chunk are lost
                for record in limits.index_records(file, summary, size):
                    if record.kind == limits.CHANNEL:
                        facts.take(record.kind, limits.content(file, record))
        try:
            limits.check_unpacked(file, summary or size)
            chunks = _scan(file, summary or size, facts)
        except limits.McapDamage as error:
            facts.faults.append(str(error))
            return facts
        if summary:
            listed = []
            try:  # compare the index with the records
                for record in limits.index_records(file, summary, size):
                    if record.kind == limits.CHUNK_INDEX:
                        listed.append(struct.unpack_from("<QQQQ", limits.content(file, record))[2])
                    elif record.kind == limits.STATISTICS:
                        messages, _, _, _, _, count = struct.unpack_from("<QHIIII", limits.content(file, record))
                        if (messages, count) != (facts.messages, len(chunks)):
                            has = f"the file {facts.messages} in {len(chunks)}"
                            facts.faults.append(f"the index has {messages} messages in {count} chunks, {has}")
                if listed and sorted(listed) != sorted(chunks):
                    facts.faults.append(f"the index names {len(listed)} chunks; the file has {len(chunks)}")
            except (limits.McapDamage, struct.error) as error:
                facts.faults.append(f"the index is damaged: {error}")
    return facts


def _scan(file: BinaryIO, end: int, facts: _FileFacts) -> dict[int, int]:
    """Read all records before the index; returns start of each chunk → number of its messages."""
    chunks: dict[int, int] = {}
    found: dict[int, list[tuple[int, int]]] | None = {}  # channel → messages of the last chunk; None = unreadable
    for record in limits.records(file, len(limits.MAGIC), end):
        if record.kind == limits.CHUNK:
            facts.chunks += 1
            found, chunks[record.at] = None, 0
            try:
                found = _chunk_messages(limits.chunk(file, record), facts)
                chunks[record.at] = sum(map(len, found.values()))
            except (ValueError, struct.error, limits.McapDamage) as error:
                words = error.words if isinstance(error, limits.McapDamage) else str(error)
                facts.faults.append(f"the chunk at byte {record.at} cannot be read: {words}")
        elif record.kind == limits.MESSAGE_INDEX and found is not None:
            data = limits.content(file, record)
            try:
                channel, length = struct.unpack_from("<HI", data)
                is_same = sorted(struct.iter_unpack("<QQ", data[6 : 6 + length])) == sorted(
                    found.get(channel, [(-1, -1)])
                )
            except struct.error:
                is_same = False
            if not is_same:
                facts.faults.append(f"the index at byte {record.at} names other messages than its chunk has")
        elif record.kind == limits.DATA_END:
            (crc,) = struct.unpack_from("<I", limits.content(file, record).ljust(4, b"\0"))
            if crc and limits.crc_of(file, 0, record.at) != crc:
                facts.faults.append("the CRC of all data is wrong")
        elif record.kind in (limits.CHANNEL, limits.MESSAGE):
            facts.take(record.kind, limits.content(file, record))
    return chunks


def _chunk_messages(chunk: limits.McapChunk, facts: _FileFacts) -> dict[int, list[tuple[int, int]]]:
    """Time and offset of each message of a chunk, by channel; nothing is counted of a damaged one."""
    data = chunk.unpacked()
    if chunk.crc == 0:
        facts.unchecked += 1
    elif zlib.crc32(data) != chunk.crc:
        raise ValueError("its CRC is wrong")
    found: dict[int, list[tuple[int, int]]] = {}
    read: list[tuple[int, bytes]] = []
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from("<BQ", data, at)
        if at + 9 + length > len(data) or not kind:
            raise ValueError(f"a record at its byte {at} claims {length} bytes")
        if kind == limits.MESSAGE:
            channel, _, stamp = struct.unpack_from("<HIQ", data, at + 9)
            found.setdefault(channel, []).append((stamp, at))
            if not chunk.first_ns <= stamp <= chunk.last_ns:
                raise ValueError("a message outside the times in its header")
        if kind in (limits.CHANNEL, limits.MESSAGE):
            read.append((kind, data[at + 9 : at + 9 + (length if kind == limits.CHANNEL else 22)]))
        at += 9 + length
    for kind, content in read:
        facts.take(kind, content)
    return found


# ------------------------------------------------------------------------------------------------ SQLite


def _sqlite_facts(path: Path) -> _FileFacts:
    facts = _FileFacts()
    try:
        check_sqlite(path)
        with sqlite_file(path) as database:
            facts.faults += [str(row[0]).splitlines()[0] for row in database.execute("PRAGMA integrity_check(10)")
                             if row[0] != "ok"]  # fmt: skip
            named = dict(database.execute("SELECT id, name FROM topics"))
            for number, stamp in database.execute("SELECT topic_id, timestamp FROM messages"):
                facts.add(str(named.get(number, f"topic {number}")), int(stamp))
    except FileError as error:
        facts.faults.append(error.got)
    except (sqlite3.Error, UnicodeError, ValueError, TypeError) as error:
        facts.faults.append(str(error))
    return facts
