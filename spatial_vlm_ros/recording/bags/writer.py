# SPDX-License-Identifier: Apache-2.0
"""Writes frame folders as a bag for `ros2 bag play` and `replay`.

It decides topics and send times; messages are built elsewhere. The times are artificial and constant, so that the same
folder gives the same bag.
"""

from __future__ import annotations

import itertools
import sqlite3
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.writing import UnfinishedFolder
from spatial_vlm_ros.recording.bags.limits import METADATA, SUFFIXES, add_checksums
from spatial_vlm_ros.recording.bags.topics import (
    CAMERA_INFO,
    DETECTION_ARRAY,
    IMAGE,
    IMU_MESSAGE,
    INSTRUCTION,
    STRING,
    TF_MESSAGE,
    default_store,
)
from spatial_vlm_ros.recording.cases import CASES_FILE, load_cases
from spatial_vlm_ros.recording.frame_folder import (
    BASE_FILE,
    CAMERA_FILE,
    DETECTIONS_FILE,
    SPEAKER_FILE,
    load_frame,
    read_camera_info,
    read_transform,
)
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import Composer, rosbags_composer, told_by_transforms
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

if TYPE_CHECKING:
    from rosbags.interfaces import Connection

START_NS = 1_700_000_000 * roles.SECOND  # a fixed time: the same folder gives the same bag
PERIOD_NS = roles.SECOND  # between frames
STORAGES = ("mcap", "sqlite3")
_AFTER_WORDS_NS = 400_000_000  # from an instruction to the frame that answers it: more than max_latency
_RESTED_NS = 300_000_000  # before a frame in which an IMU tells its "up"
_BETWEEN_NS = 1_000  # between messages, so that their order follows from their times
_METADATA_VERSION: Literal[8] = 8  # the newest version that Humble, Iron and Jazzy can all read
_TYPES = {
    roles.RGB: IMAGE,
    roles.DEPTH: IMAGE,
    roles.RGB_INFO: CAMERA_INFO,
    roles.DETECTIONS: DETECTION_ARRAY,
    roles.IMU: IMU_MESSAGE,
    INSTRUCTION: STRING,
    roles.TRANSFORMS: TF_MESSAGE,
    roles.STATIC_TRANSFORMS: TF_MESSAGE,
}


@dataclass(frozen=True)
class Recorded:
    """Number of written frames, instructions and messages."""

    frames: int
    instructions: int
    messages: int


class BagWriter(AbstractContextManager["BagWriter"]):
    """Writes a new bag; use it in a `with` statement. The bag appears complete at the end; an error leaves nothing.

    Args:
        out: folder to create. MCAP files get checksums of chunks, data and index.
        namespace: prefix of the topics, except /tf and /tf_static.
        compress: whether to compress chunks with zstd; only for "mcap".
    """

    def __init__(
        self,
        out: str | Path,
        storage: str = "mcap",
        namespace: str = "",
        *,
        compress: bool = False,
        force: bool = False,
    ) -> None:
        if storage not in STORAGES:
            raise InputError("storage", repr(storage), " or ".join(STORAGES))
        self._out, self._namespace = Path(out), namespace.strip("/")
        self._store = default_store()
        from rosbags.rosbag2 import CompressionFormat, CompressionMode, StoragePlugin, Writer

        self.composer: Composer = rosbags_composer(self._store)
        self.messages = 0
        self._connections: dict[str, Connection] = {}
        self._folder = UnfinishedFolder(self._out, force=force, ours=is_bag_file)
        try:
            self._folder.path.rmdir()  # rosbags creates it itself
            plugin = StoragePlugin[storage.upper()]
            self._writer = Writer(self._folder.path, version=_METADATA_VERSION, storage_plugin=plugin)
            if compress:
                self._writer.set_compression(CompressionMode.STORAGE, CompressionFormat.ZSTD)
            self._writer.open()
        except BaseException as error:
            self._folder.drop()
            if isinstance(error, (OSError, sqlite3.Error)):
                raise _unwritable(self._out, error) from error
            raise

    def topic(self, role: str) -> str:
        """Name of a role's topic, as used by the node."""
        inner = f"/{self._namespace}/{role}" if self._namespace else f"/{role}"
        return role if role.startswith("/") else inner

    def write(self, role: str, message: Any, log_ns: int, type_: str | None = None, topic: str | None = None) -> None:
        """Write one message with its send time, ns; type and topic are those of the role if not given."""
        type_ = type_ or _TYPES[role]
        self.write_serialized(role, self._store.serialize_cdr(message, type_), log_ns, type_, topic)

    def write_serialized(
        self, role: str, data: bytes | memoryview, log_ns: int, type_: str, topic: str | None = None
    ) -> None:
        """Write one message that is already serialised (CDR); otherwise like `write`."""
        from rosbags.interfaces import Qos, QosDurability, QosHistory, QosLiveliness, QosReliability, QosTime

        topic = topic or self.topic(role)
        try:
            if topic not in self._connections:
                forever, lively = QosTime(9223372036, 854775807), QosLiveliness.AUTOMATIC
                depth, kept = 10, QosDurability.VOLATILE
                if role == roles.STATIC_TRANSFORMS:  # latched for late subscribers
                    depth, kept = 1, QosDurability.TRANSIENT_LOCAL
                reliable = QosReliability.RELIABLE  # matches every subscriber
                qos = Qos(QosHistory.KEEP_LAST, depth, reliable, kept, forever, forever, lively, forever, False)
                self._connections[topic] = self._writer.add_connection(
                    topic, type_, typestore=self._store, offered_qos_profiles=[qos]
                )
            self._writer.write(self._connections[topic], log_ns, data)
        except (OSError, sqlite3.Error) as error:
            raise _unwritable(self._out, error) from error
        self.messages += 1

    def write_frame(
        self, frame: RgbdFrame, detections: Sequence[Detection] | None, stamp_ns: int, log_ns: int | None = None
    ) -> None:
        """Write camera info, colour, depth and, if given, detections of one stamp, sent at `log_ns` or at the stamp."""
        make, camera = self.composer, frame.camera
        header = make.header(stamp_ns, frame.frame_id)
        sent = {
            roles.RGB_INFO: make.camera_info(camera, header),
            roles.RGB: make.image_rgb(frame.rgb, header),
            roles.DEPTH: make.image_depth(frame.depth, header),
        }
        if detections is not None:
            sent[roles.DETECTIONS] = make.detection_array(detections, header, camera.width, camera.height)
        for number, (role, message) in enumerate(sent.items()):
            self.write(role, message, (stamp_ns if log_ns is None else log_ns) + number * _BETWEEN_NS)

    def write_instruction(self, words: str, log_ns: int) -> None:
        """Write an instruction (std_msgs/String) with a send time in nanoseconds."""
        self.write(INSTRUCTION, self._store.types[STRING](data=words), log_ns)

    def write_transforms(
        self, poses: Sequence[Transform], stamp_ns: int, log_ns: int | None = None, role: str = roles.TRANSFORMS
    ) -> None:
        """Write transforms of one stamp (ns), sent at `log_ns` or then; STATIC_TRANSFORMS are constant ones."""
        make = self.composer
        message = make.tf_message(make.transform_stamped(pose, stamp_ns) for pose in poses)
        self.write(role, message, stamp_ns if log_ns is None else log_ns)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if kind is not None:
                return
            self._writer.close()
            for file in self._folder.path.glob("*.mcap"):
                add_checksums(file)
            self._folder.finish()
        except (OSError, sqlite3.Error) as problem:
            raise _unwritable(self._out, problem) from problem
        finally:
            with suppress(Exception):  # open files; on a full disk closing fails, too
                self._writer.abort()
            self._folder.drop()


def record(
    folder: str | Path, out: str | Path, storage: str = "mcap", namespace: str = "", *, force: bool = False
) -> Recorded:
    """Write a folder of frames as a bag.

    Each case gives an instruction and, four tenths of a second later, its frame; cases are a second apart. Poses that
    never change go to /tf_static, others to /tf at the stamp of their frame. A frame that knows "up" gives messages of
    an IMU at rest in the camera's frame; they are used with `imu: true`.
    """
    folder = Path(folder)
    cases: list[tuple[str, str | None]] = [("", None)]  # of a single frame
    if (folder / CASES_FILE).exists():
        cases = [(case.frame, case.instruction) for case in load_cases(folder)]
    if not cases:
        repair = 'write one per line: {"frame": "f01", "instruction": "the cup"}'
        raise FileError(folder / CASES_FILE, "it has no cases", repair)
    poses = _poses(folder, list(dict.fromkeys(name for name, _ in cases)))
    fixed: dict[str, Transform] = {}  # one pose for each child frame; empty if one changes
    for pose in itertools.chain.from_iterable(poses.values()):
        if not np.array_equal(fixed.setdefault(pose.child, pose).matrix, pose.matrix):
            fixed = {}
            break
    has_detections = any((folder / name / DETECTIONS_FILE).exists() for name in poses)
    load = lru_cache(maxsize=1)(load_frame)  # cases come frame by frame
    with BagWriter(out, storage, namespace, force=force) as writer:
        if fixed:
            writer.write_transforms(list(fixed.values()), START_NS, role=roles.STATIC_TRANSFORMS)
        for number, (name, instruction) in enumerate(cases):
            now_ns = START_NS + _BETWEEN_NS + number * PERIOD_NS
            if instruction is not None:
                writer.write_instruction(instruction, now_ns)
            frame, detections = load(folder / name)
            stamp_ns = now_ns + _AFTER_WORDS_NS
            if frame.up is not None:
                for at_ns in range(stamp_ns - _RESTED_NS, stamp_ns + 1, roles.SECOND // 20):
                    header = writer.composer.header(at_ns, frame.frame_id)
                    writer.write(roles.IMU, writer.composer.imu_at_rest(frame.up, header), at_ns)
            if poses[name] and not fixed:
                writer.write_transforms(poses[name], stamp_ns)
            writer.write_frame(frame, detections if has_detections else None, stamp_ns)
    return Recorded(len(cases), sum(words is not None for _, words in cases), writer.messages)


def _poses(folder: Path, names: Sequence[str]) -> dict[str, list[Transform]]:
    """Poses of each frame: its base_T_camera and camera_T_speaker, if any."""
    poses: dict[str, list[Transform]] = {}
    known: dict[tuple[str, str], str | None] = {}  # what, camera → the other frame that its files name
    for name in names:
        camera, place = read_camera_info(folder / name / CAMERA_FILE)[1], folder / name
        base, speaker = (
            read_transform(place / file) if (place / file).exists() else None for file in (BASE_FILE, SPEAKER_FILE)
        )
        for what, file, other in (
            ("base", BASE_FILE, None if base is None else base.parent),
            ("speaker", SPEAKER_FILE, None if speaker is None else speaker.child),
        ):
            before = known.setdefault((what, camera), other)
            if before != other:
                got = f"{what}s {' and '.join(repr(one) if one else 'none' for one in (before, other))}"
                repair = "record them as separate bags: transforms hold for every frame of the bag"
                expected = f"one {what} for all frames of a camera"
                raise InputError(f"{file} of frames of {camera!r}", got, expected, repair)
        poses[name] = told_by_transforms(base, speaker)
    speakers = [frame for (what, _), frame in known.items() if what == "speaker" and frame is not None]
    if len(speakers) > len(set(speakers)):
        expected = "a different name for each camera's speaker"
        repair = "record them as separate bags: a frame has one parent in TF"
        raise InputError(SPEAKER_FILE, "one speaker seen by two cameras", expected, repair)
    return poses


# ------------------------------------------------------------------------------------------------ files


def is_bag_file(path: Path) -> bool:
    """Whether a file in a folder belongs to a bag, so that the folder may be replaced by another bag."""
    return path.name == METADATA or path.suffix in SUFFIXES


def _unwritable(out: Path, error: Exception) -> FileError:
    return FileError(out, str(error), "choose a writable place with enough space")
