# SPDX-License-Identifier: Apache-2.0
"""Assigns roles to the topics of a bag.

It uses the naming conventions of drivers and does not read messages. Topics given by the user come first; the rest
follows from types and names. If two cameras match, it does not guess.
"""

from __future__ import annotations

import errno
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from spatial_vlm_ros.errors import DependencyError, FileError, InputError, SpatialVlmError, StoreError
from spatial_vlm_ros.files.reading import member
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.limits import (
    METADATA,
    ROS1_SUFFIX,
    SUFFIXES,
    bound_decompression,
    check_bag,
    repair_of,
)
from spatial_vlm_ros.recording.bags.remote import RemoteFile, copied, is_remote, local_path, name_of, readable_by_range
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH,
    DEPTH_INFO,
    DETECTIONS,
    IMU,
    RGB,
    RGB_INFO,
    STATIC_TRANSFORMS,
    TRANSFORMS,
)

if TYPE_CHECKING:
    from rosbags.interfaces import Connection
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader
    from rosbags.typesys.store import Typestore

IMAGE, COMPRESSED_IMAGE = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
CAMERA_INFO, IMU_MESSAGE = "sensor_msgs/msg/CameraInfo", "sensor_msgs/msg/Imu"
TF_MESSAGE = "tf2_msgs/msg/TFMessage"
STRING = "std_msgs/msg/String"
DETECTION, DETECTION_ARRAY = "spatial_vlm_interfaces/msg/Detection", "spatial_vlm_interfaces/msg/DetectionArray"
DETECTION_2D_ARRAY = "vision_msgs/msg/Detection2DArray"

# Fields of interfaces/msg, which is not part of the Python package; a test compares them.
DEFINITIONS: Mapping[str, str] = MappingProxyType(
    {
        DETECTION: """\
string id
string label
float64 score
float64[4] box
string[] attributes
uint32 mask_x
uint32 mask_y
sensor_msgs/Image[<=1] mask
geometry_msgs/Vector3[<=1] front
""",
        DETECTION_ARRAY: """\
std_msgs/Header header
uint32 image_width
uint32 image_height
Detection[] detections
""",
    }
)


def check_rosbags() -> None:
    """Check that rosbags is installed."""
    try:
        import rosbags.rosbag2  # noqa: F401
    except ImportError as error:
        raise DependencyError("rosbags", "pip install rosbags, into the Python environment of this command") from error


@lru_cache(maxsize=1)
def default_store() -> Typestore:
    """Types of ROS 2 and of this package, for bags without definitions and for writing."""
    check_rosbags()
    from rosbags.typesys import Stores, get_types_from_msg, get_typestore

    store = get_typestore(Stores.ROS2_JAZZY)
    for name, text in DEFINITIONS.items():
        store.register(get_types_from_msg(text, name))
    return store


@lru_cache(maxsize=256)
def embedded_store(name: str, definition: str, is_idl: bool) -> Typestore:
    """Make a store of one type and its parts, from a definition in a bag.

    Stores are cached by the whole definition, so that topics cannot affect each other, and parsed definitions are
    reused for the next bag.
    """
    from rosbags.typesys import Stores, get_types_from_idl, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    store.register(get_types_from_idl(definition) if is_idl else get_types_from_msg(definition, name))
    return store


_WANTED = "pass a folder that rosbag2 wrote, or a .mcap, .db3 or .bag file"
_LONGEST_REASON = 200  # characters
_OF_THE_DISK = frozenset(
    {errno.EIO, errno.ESTALE, errno.ENOTCONN, errno.ETIMEDOUT, errno.EREMOTEIO, errno.ENODEV, errno.EHOSTDOWN}
)
"""OS error numbers when a disk or network drive fails while reading a good file."""
_SAME_TYPES = {"tf/msg/tfMessage": TF_MESSAGE}  # ROS 1 type → ROS 2 type with the same fields


@dataclass(frozen=True)
class Topic:
    """A topic of a bag: its name, its message type ("sensor_msgs/msg/Image") and its number of messages."""

    name: str
    type: str
    count: int


@dataclass(frozen=True)
class ChunkSpan:
    """A chunk of an MCAP bag, from its index: times of its first and last message (ns), and its bytes in the file."""

    start_ns: int
    end_ns: int
    size: int
    topics: frozenset[str]


@dataclass(frozen=True, eq=False)
class BagMessage:
    """A message that is not deserialised yet: its type, such as "sensor_msgs/msg/Image", recording time, CDR bytes."""

    topic: str
    type: str
    log_ns: int
    raw: bytes | memoryview
    read: Callable[[BagMessage], Any]

    def decode(self) -> Any:
        """Deserialise the message, with ROS field names."""
        return self.read(self)


@dataclass(frozen=True, eq=False)
class _Ros1CameraInfo:
    """A camera info of ROS 1, whose matrices have capital letters."""

    message: Any

    def __getattr__(self, name: str) -> Any:
        return getattr(self.message, name.upper() if name in ("d", "k", "r", "p") else name)


class Bag(AbstractContextManager["Bag"]):
    """An open bag; close it, or use it in a `with` statement.

    Args:
        path: a folder that rosbag2 wrote, or a single .mcap, .db3 or .bag file; or the URI of one, such as
            "s3://bucket/run1.mcap". MCAP files of a store are read by range through their chunk index; other bags are
            copied to this machine first.

    Attributes:
        start_ns: recording time of the first message, nanoseconds; 0 if there is none.
    """

    def __init__(self, path: str | Path) -> None:
        self.path: Path | str = str(path) if is_remote(path) else local_path(path)
        self._copy = ExitStack()
        self._is_ros1 = name_of(path).endswith(ROS1_SUFFIX)
        check_rosbags()
        try:
            self._reader = self._opened()
        except BaseException:
            self._copy.close()
            raise
        self._stores: dict[str, Typestore] = {}
        self._connections: tuple[Connection, ...] = tuple(self._reader.connections)
        counts = Counter[tuple[str, str]]()
        for c in self._connections:
            counts[c.topic, _type(c)] += c.msgcount
        self.contents = tuple(Topic(name, type_, n) for (name, type_), n in sorted(counts.items()))
        self.topics = {topic.name: topic.type for topic in self.contents}
        self.start_ns = self._reader.start_time if any(topic.count for topic in self.contents) else 0

    def _opened(self) -> Reader | Ros1Reader:
        if isinstance(self.path, Path):
            return _opened(self.path, self.path)
        reason = readable_by_range(self.path)
        if reason is not None:
            folder = self._copy.enter_context(copied(self.path, reason))
            return _opened(self.path, Path(folder, name_of(self.path)))
        reader = _opened(self.path, RemoteFile(self.path))
        for file in _storages(reader):  # each chunk is fetched by one request
            chunks = [(chunk.chunk_start_offset, chunk.chunk_length) for chunk in getattr(file, "chunks", ())]
            file.bio.expect([(first, first + length) for first, length in chunks])
        return reader

    def chunks(self) -> tuple[ChunkSpan, ...]:
        """Chunks of an MCAP bag in file order; empty without a chunk index."""
        found = []
        for file in _storages(self._reader):
            topics = {connection.id: connection.topic for connection in getattr(file, "connections", ())}
            for chunk in getattr(file, "chunks", ()):
                names = frozenset(topics[n] for n, count in chunk.channel_count.items() if count)
                found.append(ChunkSpan(chunk.message_start_time, chunk.message_end_time, chunk.chunk_length, names))
        return tuple(found)

    def raw(self) -> Iterator[tuple[str, int, bytes]]:
        """Yield topic, recording time (ns) and bytes of every message, in recording order."""
        if self._is_ros1:
            name = name_of(self.path)
            repair = f"run `rosbags-convert --src {name} --dst {name.removesuffix(ROS1_SUFFIX)}`"
            raise FileError(self.path, "a bag of ROS 1, which cannot be played into ROS 2", repair)
        return ((message.topic, message.log_ns, bytes(message.raw)) for message in self.messages())

    def messages(
        self, names: Collection[str] | None = None, start_ns: int | None = None, stop_ns: int | None = None
    ) -> Iterator[BagMessage]:
        """Yield the messages in recording order, from `start_ns` to before `stop_ns` if given.

        In an MCAP file with a chunk index, only the needed chunks are read.
        """
        wanted = [c for c in self._connections if names is None or c.topic in names]
        if not wanted:  # rosbags would take an empty list for all
            return
        with _translated(self.path):
            for connection, log_ns, raw in self._reader.messages(wanted, start_ns, stop_ns):
                yield BagMessage(connection.topic, _type(connection), log_ns, raw, partial(self._decode, connection))

    def _decode(self, connection: Connection, message: BagMessage) -> Any:
        place = f"a {message.type} on {message.topic}, recorded at {message.log_ns} ns"
        try:
            if self._is_ros1:
                decoded = self._store(connection).deserialize_ros1(message.raw, connection.msgtype)
                return _Ros1CameraInfo(decoded) if connection.msgtype == CAMERA_INFO else decoded
            return self._store(connection).deserialize_cdr(message.raw, message.type)
        except KeyError as error:
            reason = f"the definition of {error} is neither in the bag nor known"
            newer = "record it with a version of rosbag2 that stores definitions"
            raise FileError(self.path, reason, newer, place) from error
        except Exception as error:  # any error of rosbags or NumPy for damaged bytes
            raise FileError(self.path, _told_in(error), _repair(self.path), place) from error

    def _store(self, connection: Connection) -> Typestore:
        """Types from the bag's definitions, otherwise from ROS 2 and this package."""
        from rosbags.interfaces import MessageDefinitionFormat

        name, definition = connection.msgtype, connection.msgdef
        if name not in self._stores:
            store = default_store()
            if definition.format != MessageDefinitionFormat.NONE:
                is_idl = definition.format == MessageDefinitionFormat.IDL
                try:
                    store = embedded_store(name, definition.data, is_idl)
                except Exception:  # rosbags' parser supports only a part of IDL
                    if name not in store.types:
                        raise
            self._stores[name] = store
        return self._stores[name]

    def close(self) -> None:
        """Close the files; no more messages can be read."""
        with suppress(Exception):  # one that is closed says so
            self._reader.close()
        self._copy.close()

    def __exit__(self, *_: object) -> None:
        self.close()


open_bag = Bag
"""Open a bag."""


# ------------------------------------------------------------------------------------------------ opening


def _type(connection: Connection) -> str:
    return _SAME_TYPES.get(connection.msgtype, connection.msgtype)


def _storages(reader: Reader | Ros1Reader) -> list[Any]:
    storage: Any = getattr(reader, "storage", None)
    return getattr(storage, "storages", None) or [storage]


def _opened(path: Path | str, file: Path | RemoteFile) -> Reader | Ros1Reader:
    """Open a reader; its errors name the path or URI that the user gave."""
    from rosbags.rosbag1 import Reader as Ros1Reader
    from rosbags.rosbag2 import Reader

    with _translated(path):
        storage: Any = file
        is_ros1 = isinstance(file, Path) and file.suffix == ROS1_SUFFIX and file.is_file()
        if isinstance(file, Path):
            storage = file if is_ros1 else _storage(file)
            check_bag(storage)
        bound_decompression()
        reader: Reader | Ros1Reader = Ros1Reader(storage) if is_ros1 else Reader(storage)
        reader.open()
        return reader


def _storage(path: Path) -> Path:
    """Path for rosbags: the folder or file itself, or the only file of a folder without metadata."""
    if path.is_dir():
        if (path / METADATA).is_file():
            return path
        files = _files(path)
        if len(files) == 1:  # a killed recorder writes no metadata
            return member(path, files[0].name)
        reason = f"no {METADATA} in the folder" + (f", but {len(files)} parts of a bag" if files else "")
        repair = f"run `ros2 bag reindex {path.name}`" if files else "pass a folder that `ros2 bag record` wrote"
        raise FileError(path, reason, repair)
    if not path.is_file():
        reason = "it is not a file" if path.exists() else "no such file"
        raise FileError(path, reason, _WANTED)
    if path.name == METADATA:
        return path.parent
    if path.suffix not in SUFFIXES:
        reason = f"the name ends in {path.suffix!r}" if path.suffix else "the name has no extension"
        raise FileError(path, reason, _WANTED)
    return path


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.iterdir() if file.suffix in SUFFIXES)


@contextmanager
def _translated(path: Path | str) -> Iterator[None]:
    """Translate errors of rosbags, SQLite, YAML and decompressors for a damaged file to FileError.

    A disk or store that cannot deliver the bytes of a good file raises StoreError, because a retry may succeed.
    """
    try:
        yield
    except SpatialVlmError:
        raise
    except Exception as error:
        # EINVAL: a wrong index points before the file's beginning. Any other error of a store may pass.
        if isinstance(error, OSError) and (
            error.errno != errno.EINVAL if isinstance(path, str) else error.errno in _OF_THE_DISK
        ):
            repair = "Check the disk, network drive or store that holds it, then run the same command again."
            raise StoreError(str(path), f"{type(error).__name__}: {_told_in(error)}", repair) from error
        raise FileError(path, _told_in(error), _repair(path)) from error


def _told_in(error: Exception) -> str:
    text = " ".join(str(error).split()).rstrip(".") or type(error).__name__
    if "end magic" in text:
        return "it ends before its index: the recorder was killed, or the copy is not complete"
    return text if len(text) <= _LONGEST_REASON else text[: _LONGEST_REASON - 3] + "..."


def _repair(path: Path | str) -> str:
    """How to fix a bag: by the kind of its file, or of the first one in its folder."""
    files = _files(path) if isinstance(path, Path) and path.is_dir() else []
    return repair_of(files[0].name if files else name_of(path))


INSTRUCTION = "instruction"


class _Role(NamedTuple):
    """What the user calls a role, the command-line option for it, and its types of messages."""

    words: str
    option: str
    types: tuple[str, ...]


_ROLES = {
    RGB: _Role("colour", "--rgb", (IMAGE, COMPRESSED_IMAGE)),
    DEPTH: _Role("depth", "--depth", (IMAGE, COMPRESSED_IMAGE)),
    RGB_INFO: _Role("camera info of colour", "--camera-info", (CAMERA_INFO,)),
    DEPTH_INFO: _Role("camera info of depth", "--depth-camera-info", (CAMERA_INFO,)),
    DETECTIONS: _Role("detections", "--detections", (DETECTION_ARRAY, DETECTION_2D_ARRAY)),
    IMU: _Role("the IMU", "--imu", (IMU_MESSAGE,)),
    INSTRUCTION: _Role("instructions", "--instruction-topic", (STRING,)),
}
_COLOUR_WORDS = frozenset({"rgb", "color", "colour"})
_REGISTERED_WORDS = frozenset({"aligned", "registered", "to"})  # aligned_depth_to_color, depth_to_rgb
_NO_IMAGE = frozenset(
    {"ir", "infra", "infra1", "infra2", "infrared", "gray", "grey", "confidence", "disparity", "mask", "annotated",
     "debug", "overlay", "heatmap", "labels", "segmentation"}
)  # fmt: skip
_TRANSPORTS = ("compressed", "compressedDepth")
_MOST_LISTED = 40


def choose_roles(
    topics: Sequence[Topic], config: StreamConfig, given: Mapping[str, str] | None = None, with_detections: bool = True
) -> dict[str, str]:
    """Choose a topic for each role.

    Args:
        given: role → topic, as given by the user; a leading "/" may be missing.
        with_detections: whether detections come from the bag; False = from a grounder.

    Returns:
        Role → topic. RGB, DEPTH, RGB_INFO and, if requested, DEPTH_INFO, DETECTIONS and IMU are always present;
        INSTRUCTION, TRANSFORMS and STATIC_TRANSFORMS only if the bag has them.
    """
    return _TopicChoice(topics, config, given or {}).roles(with_detections)


class _TopicChoice:
    def __init__(self, topics: Sequence[Topic], config: StreamConfig, given: Mapping[str, str]) -> None:
        self._all = sorted(topics, key=lambda topic: topic.name)
        self._topics = [topic for topic in self._all if topic.count]
        self._config = config
        self._given = {}
        for role, name in given.items():
            name = name if name.startswith("/") else f"/{name}"
            fit = [t for t in self._all if t.name == name]
            found = next((t for t in fit if t.type in _ROLES[role].types), None)
            if found is None:
                raise self._refused(role, f"{name} is of type {fit[0].type}" if fit else f"no topic {name}")
            self._given[role] = found

    def roles(self, with_detections: bool) -> dict[str, str]:
        rgb, depth = self._cameras()
        registered = depth if self._config.depth_registered else None
        roles = {RGB: rgb.name, DEPTH: depth.name, RGB_INFO: self._info(RGB_INFO, rgb, registered)}
        if registered is None:
            roles[DEPTH_INFO] = self._info(DEPTH_INFO, depth)
        if with_detections:
            roles[DETECTIONS] = self._detections(rgb)
        if self._config.imu:
            fit = [t for t in self._topics if t.type in _ROLES[IMU].types and not _any_word(t.name, {"gyro"})]
            sensor = self._given.get(IMU) or self._only(fit)
            if sensor is None:
                raise self._refused(IMU, "several: " + ", ".join(t.name for t in fit) if fit else "no matching topic")
            roles[IMU] = sensor.name
        said = self._given.get(INSTRUCTION) or self._only(
            t for t in self._topics if t.type == STRING and _words(t.name)[-1] == {"instruction"}
        )
        if said is not None:
            roles[INSTRUCTION] = said.name
        for role in (TRANSFORMS, STATIC_TRANSFORMS):
            fit = [t for t in self._topics if t.type == TF_MESSAGE and t.name.endswith(role)]
            found = next((t for t in fit if t.name == role), None) or self._only(fit)
            if found is not None:
                roles[role] = found.name
        return roles

    # -------------------------------------------------------------------------------------------- images

    def _cameras(self) -> tuple[Topic, Topic]:
        images = [t for t in self._topics if t.type in _ROLES[RGB].types and not _any_word(t.name, _NO_IMAGE)]
        depths = [t for t in images if _any_word(t.name, {"depth"})]
        others = [t for t in images if t not in depths]
        rgb = self._by_camera(RGB, [t for t in others if _any_word(t.name, _COLOUR_WORDS)] or others)
        # Azure Kinect's /rgb_to_depth is colour, projected to the depth camera.
        depth = self._by_camera(
            DEPTH, [t for t in depths if not any(f"{w}_to_depth" in t.name.lower() for w in _COLOUR_WORDS)]
        )
        for role, found in ((RGB, rgb), (DEPTH, depth)):
            if not found:
                raise self._refused(role, "no matching topic")
        pairs = [(r, d) for r in rgb for d in depth if r == d]
        pairs = pairs or [(r, d) for r in rgb for d in depth if _inside(r, d) or _inside(d, r)]
        named = RGB in self._given or DEPTH in self._given
        if not pairs and named and len(rgb) == len(depth) == 1:
            pairs = [(next(iter(rgb)), next(iter(depth)))]
        if len(pairs) != 1:
            seen = sorted({r for r, _ in pairs} or {*rgb, *depth})
            what = "several cameras" if pairs else "no camera with both colour and depth"
            raise self._refused(RGB, f"{what} ({', '.join(name or '/' for name in seen)})", DEPTH)
        r, d = pairs[0]

        def as_colour(topic: Topic) -> tuple[object, ...]:  # raw, rectified as configured, then the shortest name
            is_rectified = _any_word(topic.name, {"rect"})
            return topic.type != IMAGE, is_rectified != self._config.rectified, len(topic.name), topic.name

        def as_depth(topic: Topic) -> tuple[object, ...]:  # registered as configured, raw, compressedDepth, others
            is_registered = _any_word(topic.name, _REGISTERED_WORDS)
            transport = 0 if topic.type == IMAGE else 1 if topic.name.endswith("/compressedDepth") else 2
            return is_registered != self._config.depth_registered, transport, len(topic.name), topic.name

        return min(rgb[r], key=as_colour), min(depth[d], key=as_depth)

    def _by_camera(self, role: str, topics: Iterable[Topic]) -> dict[str, list[Topic]]:
        if role in self._given:
            topics = [self._given[role]]
        cameras: dict[str, list[Topic]] = {}
        for topic in topics:
            cameras.setdefault(_camera(topic.name), []).append(topic)
        return cameras

    # -------------------------------------------------------------------------------------------- others

    def _info(self, role: str, image: Topic, registered: Topic | None = None) -> str:
        """Camera info beside an image, otherwise of the depth registered to it, otherwise the only one."""
        if role in self._given:
            return self._given[role].name
        infos = [t for t in self._topics if t.type == CAMERA_INFO]
        beside = [
            f"{_base(topic.name).rpartition('/')[0]}/camera_info" for topic in (image, registered) if topic is not None
        ]
        found = next((t for name in beside for t in infos if t.name == name), None)
        if found is None and self._config.depth_registered:  # otherwise the only one may belong to the other camera
            found = self._only(infos)
        if found is None:
            raise self._refused(role, f"no {beside[0]}" + (f", but {len(infos)} of other images" if infos else ""))
        return found.name

    def _detections(self, rgb: Topic) -> str:
        """Detections topic of the camera; never one in the namespace of another camera of the bag."""
        if DETECTIONS in self._given:
            return self._given[DETECTIONS].name
        for type_ in _ROLES[DETECTIONS].types:
            fit = [t for t in self._topics if t.type == type_]
            if len(fit) > 1:
                raise self._refused(DETECTIONS, "several: " + ", ".join(t.name for t in fit))
            if fit:
                name, own = fit[0].name, _camera(rgb.name)
                cameras = {_camera(t.name) for t in self._topics if t.type in _ROLES[RGB].types} - {own, ""}
                other = next((one for one in sorted(cameras) if _inside(name, one) and not _inside(name, own)), "")
                if other:
                    raise self._refused(DETECTIONS, f"{name}, which is of another camera ({other})")
                return name
        extra = ", or pass --grounder NAME for a model that finds them"
        raise self._refused(DETECTIONS, "no topic of detections", extra=extra)

    @staticmethod
    def _only(topics: Iterable[Topic]) -> Topic | None:
        found = list(topics)
        return found[0] if len(found) == 1 else None

    def _refused(self, role: str, got: str, other: str | None = None, extra: str = "") -> InputError:
        listed = [f"{t.name} ({t.type}, {t.count})" for t in self._all[:_MOST_LISTED]]
        more = len(self._all) - len(listed)
        there = ", ".join(listed) + (f" and {more} more" if more else "") or "no topics"
        options = " and ".join(f"{_ROLES[r].option} TOPIC" for r in (role, other) if r is not None)
        extra += " (in `evaluate`: --detections-topic TOPIC)" if role == DETECTIONS else ""
        kinds = " or ".join(_ROLES[role].types)
        repair = f"name it by {options}{extra}; the bag has: {there}"
        return InputError(f"topic of {_ROLES[role].words}", got, f"one of type {kinds}", repair)


# ------------------------------------------------------------------------------------------------ names


def _words(name: str) -> list[set[str]]:
    return [set(part.lower().split("_")) for part in _base(name).split("/")[1:]] or [set()]


def _any_word(name: str, words: Iterable[str]) -> bool:
    return any(part & set(words) for part in _words(name))


def _base(name: str) -> str:
    parent, _, last = name.rpartition("/")
    return parent if last in _TRANSPORTS else name


def _camera(name: str) -> str:
    """The part of a name that all images of one camera share: what comes before "color", "rgb" or "depth"."""
    words = _words(name)
    kinds = {*_COLOUR_WORDS, "depth"}
    at = next((n for n, part in enumerate(words) if part & kinds), len(words) - 1)
    return "/".join(_base(name).split("/")[: at + 1])


def _inside(inner: str, outer: str) -> bool:
    return inner.startswith(f"{outer}/")
