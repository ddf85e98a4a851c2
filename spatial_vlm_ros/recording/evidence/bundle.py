# SPDX-License-Identifier: Apache-2.0
"""One decision of the live node as a bag: its input messages, the request, the answer, the parameters; their folder.

A bundle is an ordinary MCAP bag. Images, camera infos and detections are on the topics of their roles, the transforms
on /tf and /tf_static, the words on `instruction`; one message of TOPIC holds the rest as JSON.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import json
import os
import re
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, cast

import numpy as np
import numpy.typing as npt

from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.reading import sha256_of
from spatial_vlm_ros.files.writing import sync_folder
from spatial_vlm_ros.output.json_schema import (
    dialogue_from_json,
    phrases_from_json,
    resolution_from_json,
    resolution_json,
)
from spatial_vlm_ros.parameters import Settings, StreamConfig, settings_from
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.grounding_checks import match_of
from spatial_vlm_ros.recording.bags.topics import STRING, Bag, default_store, open_bag
from spatial_vlm_ros.recording.bags.writer import BagWriter
from spatial_vlm_ros.recording.frame_folder import decode_json
from spatial_vlm_ros.recording.replay import ReplayedAnswer
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.spatial.detector_profile import UNMEASURED, DetectorProfile
from spatial_vlm_ros.spatial.dialogue import refused_in
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.decoding import detections_of
from spatial_vlm_ros.streams.transforms import TransformSample
from spatial_vlm_ros.types import Detection, FrameOfReference, ModelDomain, NounPhrase, Resolution, Rgb, RgbdFrame

DECISION = "evidence/decision"
TOPIC = f"/{DECISION}"
VERSION = 1
"""Of the JSON. Raised when a field changes its meaning or goes; new fields do not raise it."""
_BETWEEN_NS = 1_000  # from one message to the next: their order is that of their times
_LONGEST = 16_000_000  # bytes of JSON
_REPAIR = "use the bundle as the node wrote it"

FrameOrigin = Literal["answered", "newest", "none"]
"""answered: the decision rests on it · newest: the decision had none, this was the newest complete one · none."""


@dataclass(frozen=True)
class KeptGrounding:
    """Phrases of a grounder, and a row of matches for each; the detections are on their topic."""

    phrases: list[Any]
    match: list[list[float]]
    unread: tuple[str, ...] = ()
    profile: DetectorProfile | None = None


@dataclass(frozen=True)
class KeptModel:
    """The grounder of a decision."""

    name: str
    options: dict[str, str] = field(default_factory=dict)
    domain: str = "unknown"
    sha256: dict[str, str] = field(default_factory=dict)  # path → hash, for its files; empty if it has no local files
    sha256_all: str = ""  # hash of all files together; "" if there are none


@dataclass(frozen=True)
class EvidenceRecord:
    """What a bundle says beside its messages."""

    utc: str  # time of the decision, ISO 8601, by the computer's clock
    instruction: str
    frame_of_reference: str  # named by the request; "" = none
    resolution: dict[str, Any]
    parameters: dict[str, Any]
    frame: FrameOrigin = "none"
    topics: dict[str, str] = field(default_factory=dict)
    reencoded: tuple[str, ...] = ()
    dialogue: dict[str, Any] | None = None
    # result of the grounder; None if detections came with the frame, or none were found
    grounding: KeptGrounding | None = None
    model: KeptModel | None = None
    versions: dict[str, str] = field(default_factory=dict)
    node: str = ""
    version: int = VERSION

    @property
    def answer(self) -> Resolution:
        """The recorded answer."""
        return resolution_from_json(self.resolution)


@dataclass(frozen=True, eq=False)
class KeptMessage:
    """A message to write to a bundle."""

    role: str
    topic: str  # without a leading "/"; has the ending of its transport
    type: str  # "sensor_msgs/msg/Image"
    data: bytes  # its CDR bytes
    log_ns: int  # arrival time, nanoseconds


@dataclass(frozen=True, eq=False)
class EvidenceBundle:
    """A bundle read from a file."""

    path: Path
    record: EvidenceRecord
    messages: Mapping[str, Any]
    transforms: tuple[tuple[Any, bool], ...]


def write_bundle(
    out: Path, record: EvidenceRecord, messages: Sequence[KeptMessage], transforms: Sequence[TransformSample]
) -> Path:
    """Write a bundle as a bag; returns its MCAP file."""
    record = dataclasses.replace(record, topics={m.role: f"/{m.topic}" for m in messages})
    begin_ns = min((m.log_ns for m in messages), default=0)
    with BagWriter(out, compress=True) as writer:
        string, make = default_store().types[STRING], writer.composer
        text = json.dumps(dataclasses.asdict(record), ensure_ascii=False, allow_nan=False)
        writer.write(DECISION, string(data=text), begin_ns, STRING)
        writer.write_instruction(record.instruction, begin_ns)
        for role, static in ((roles.STATIC_TRANSFORMS, True), (roles.TRANSFORMS, False)):
            stamped = [
                make.place_stamped(one.parent, one.child, one.translation, one.quaternion_xyzw, one.stamp_ns)
                for one in transforms
                if one.static is static
            ]
            if stamped:
                writer.write(role, make.tf_message(stamped), begin_ns)
        for number, message in enumerate(sorted(messages, key=lambda m: m.log_ns), 1):
            log_ns = message.log_ns + number * _BETWEEN_NS
            writer.write_serialized(message.role, message.data, log_ns, message.type, f"/{message.topic}")
    (file,) = out.glob("*.mcap")
    return file


def is_bundle(bag: Bag) -> bool:
    """Whether an open bag is an evidence bundle."""
    return bag.topics.get(TOPIC) == STRING


def read_record(path: str | Path) -> EvidenceRecord:
    """What a bundle says beside its messages."""
    path = Path(path)
    _check_hash(path)
    with open_bag(path) as bag:
        return _record(bag)


def read_bundle(path: str | Path) -> EvidenceBundle:
    """Read a bundle with its messages."""
    path = Path(path)
    _check_hash(path)
    with open_bag(path) as bag:
        record = _record(bag)
        role_of = {topic: role for role, topic in record.topics.items()}
        messages, transforms = {}, []
        for message in bag.messages({*role_of, roles.TRANSFORMS, roles.STATIC_TRANSFORMS}):
            if message.topic in (roles.TRANSFORMS, roles.STATIC_TRANSFORMS):
                transforms.append((message.decode(), message.topic == roles.STATIC_TRANSFORMS))
            else:
                messages[role_of[message.topic]] = message.decode()
    missing = set(record.topics) - set(messages)
    if missing:
        raise FileError(path, f"no message on {record.topics[min(missing)]}", _REPAIR)
    return EvidenceBundle(path, record, messages, tuple(transforms))


def _record(bag: Bag) -> EvidenceRecord:
    if not is_bundle(bag):
        repair = "pass a file that the node kept as evidence"
        raise FileError(bag.path, f"not an evidence bundle: no message on {TOPIC}", repair)
    said = list(bag.messages({TOPIC}))
    if len(said) != 1:
        raise FileError(bag.path, f"{len(said)} messages on {TOPIC}", _REPAIR)
    text = said[0].decode().data.encode()
    if len(text) > _LONGEST:
        raise FileError(bag.path, f"{len(text)} bytes of JSON", _REPAIR, TOPIC)
    record = decode_json(text, EvidenceRecord, bag.path, TOPIC, _REPAIR)
    if record.version > VERSION:
        reason = f"version {record.version} of the format; this package reads {VERSION}"
        raise FileError(bag.path, reason, "install a newer version of this package", TOPIC)
    return record


def _check_hash(path: Path) -> None:
    if not NAME.fullmatch(path.name) or not path.is_file():
        return
    found = hash_of(path)[:HASH_DIGITS]
    if found != path.stem[-HASH_DIGITS:]:
        raise FileError(path, f"damaged: its SHA-256 begins with {found}", "copy it again from its source")


# ------------------------------------------------------------------------------------------------ models

_OF_MODELS = {".onnx", ".safetensors", ".json"}
_MOST = 500  # files of a model that are hashed


def model_of(name: str, options: Mapping[str, str], domain: ModelDomain) -> KeptModel:
    """Identify a grounder by the hashes of its files; takes as long as reading them."""
    from spatial_vlm_ros.perception.backends import shipped_model
    from spatial_vlm_ros.perception.model_store import folder_of, known_models

    files: dict[str, Path] = {}
    for option, value in options.items():
        entry = known_models().get(value)
        with suppress(OSError, ValueError, RuntimeError, SpatialVlmError):  # an option may be anything
            place = Path(value).expanduser() if entry is None else folder_of(entry)
            if place.is_file():
                files[option] = place
            elif value and place.is_dir():
                files |= _below(place, option)
    if "model" not in options and not files:
        with suppress(SpatialVlmError):
            files = _below(shipped_model(name), "model")
    hashes = {}
    for path, file in files.items():
        try:
            hashes[path] = hash_of(file)
        except FileError as error:
            hashes[path] = f"not readable: {error.got}"
    both = "".join(f"{path}\0{value}\n" for path, value in sorted(hashes.items()))
    return KeptModel(name, dict(options), domain, hashes, hashlib.sha256(both.encode()).hexdigest() if hashes else "")


def _below(folder: Path, option: str) -> dict[str, Path]:
    if not {path.suffix for path in folder.iterdir()} & _OF_MODELS:  # an option may name any folder
        return {}
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {f"{option}/{path.relative_to(folder).as_posix()}": path for path in files[:_MOST]}


NAME = re.compile(r"\d{8}T\d{6}\.\d{6}Z_[A-Z_]+_[0-9a-f]{8}\.mcap")
"""Names of bundles: time (UTC), status, beginning of the SHA-256 of the file."""
HASH_DIGITS = 8
_FOLDER = Path("spatial_vlm_ros") / "evidence"
_PART = ".part"  # ends the name of the folder in which a bundle is written
_LEFT = 60.0  # s after which such a folder was left by a node that was killed


def evidence_folder(configured: str) -> Path:
    """Folder of the bundles: as configured, otherwise under $XDG_STATE_HOME or ~/.local/state."""
    state = os.environ.get("XDG_STATE_HOME")
    try:
        if configured:
            return Path(configured).expanduser()
        return (Path(state) if state else Path.home() / ".local" / "state") / _FOLDER
    except RuntimeError as error:
        raise FileError(configured or _FOLDER, str(error), "set evidence.folder to an absolute path") from error


def bundles_in(folder: Path) -> list[Path]:
    """List the bundles of a folder, oldest first."""
    try:
        return sorted(path for path in folder.iterdir() if NAME.fullmatch(path.name))
    except OSError as error:
        raise FileError(folder, str(error.strerror), "pass the folder of evidence.folder") from error


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    return sha256_of(path, "check its permissions")


@dataclass(frozen=True)
class EvidenceStore:
    """Writes bundles into a folder."""

    folder: Path
    most_bytes: int
    most_files: int

    def keep(self, status: str, utc: float, write: Callable[[Path], Path]) -> Path:
        """Store one bundle of a decision at `utc`, seconds since 1970; removes the oldest ones to make room."""
        when = datetime.datetime.fromtimestamp(utc, datetime.timezone.utc).strftime("%Y%m%dT%H%M%S.%fZ")
        part = self.folder / f".{when}_{os.getpid()}_{time.monotonic_ns()}{_PART}"
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for path in self.folder.glob(f".*{_PART}"):
                with contextlib.suppress(FileNotFoundError):
                    if time.time() - path.stat().st_mtime > _LEFT:
                        shutil.rmtree(path, ignore_errors=True)
            part.mkdir(mode=0o700)
            try:
                return self._finish(write(part / "bundle"), f"{when}_{status}")
            finally:
                shutil.rmtree(part, ignore_errors=True)
        except OSError as error:
            repair = "make room, or set evidence.folder to another folder"
            raise FileError(self.folder, str(error.strerror), repair) from error

    def _finish(self, file: Path, name: str) -> Path:
        """Give a whole file its name, with the disk's word that it has it; the oldest bundles make room for it."""
        file.chmod(0o600)
        size = file.stat().st_size
        if size > self.most_bytes:
            raise FileError(self.folder, f"a bundle of {size} bytes", f"raise evidence.most_bytes ({self.most_bytes})")
        path = self.folder / f"{name}_{hash_of(file)[:HASH_DIGITS]}.mcap"
        kept = []
        for other in bundles_in(self.folder):
            with contextlib.suppress(FileNotFoundError):  # another node makes room, too
                kept.append((other, other.stat().st_size))
        total = sum(n for _, n in kept) + size
        while kept and (total > self.most_bytes or len(kept) >= self.most_files):
            oldest, n = kept.pop(0)
            oldest.unlink(missing_ok=True)
            total -= n
        file.rename(path)
        sync_folder(self.folder)
        return path


# ------------------------------------------------------------------------------------------------ answering


_TIMES = ("ms", "timings_ms")


class KeptGrounder:
    """Replays the recorded result of the grounder; other phrases are matched by label."""

    looks = False

    def __init__(self, phrases: Sequence[NounPhrase], grounding: Grounding, domain: ModelDomain, name: str) -> None:
        self._grounding, self.domain, self.name = grounding, domain, name
        self._row = match_of(phrases, grounding)

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:  # noqa: ARG002 - of the protocol
        """The recorded result; see Grounder.ground. The image is ignored."""
        match: npt.NDArray[np.float64] = np.zeros((len(phrases), len(self._grounding.detections)))
        for row, phrase in enumerate(phrases):
            match[row] = self._row(phrase)
        return dataclasses.replace(self._grounding, match=match)


def settings_of_bundle(bundle: EvidenceBundle) -> Settings:
    """The parameters of the decision."""
    try:
        return settings_from(bundle.record.parameters)
    except InputError as error:
        repair = "pass parameters of this version with --config"
        raise FileError(bundle.path, str(error), repair, "parameters") from error


def frame_of(
    bundle: EvidenceBundle, streams: StreamConfig, robot: roles.SeenRobot | None = None
) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    """The frame of a bundle and its detections, given or found by the grounder; None if there are none."""
    return _decoded(bundle, _pending(bundle, streams, robot))


def answer_bundle(
    bundle: EvidenceBundle,
    resolver: Resolver,
    streams: StreamConfig,
    *,
    instruction: str | None = None,
    frame_of_reference: FrameOfReference | str | None = None,
    robot: roles.SeenRobot | None = None,
    finds_anew: bool = False,
) -> ReplayedAnswer:
    """Answer the words of a bundle, or others that begin a new dialogue, on its frame.

    The objects are those recorded, or with `finds_anew` those that the resolver's grounder, else unused, finds.
    """
    record = bundle.record
    dialogue = record.dialogue if instruction is None else None
    before = None if dialogue is None else dialogue_from_json(dialogue)
    words = record.instruction if instruction is None else instruction
    said_frame = frame_of_reference or record.frame_of_reference or None

    def refused(error: SpatialVlmError, stamp_ns: int = 0) -> ReplayedAnswer:
        return ReplayedAnswer(refused_in(words, error, before, stamp_ns), None, (), stamp_ns)

    try:
        taken = resolver.taken(words, before)
    except SpatialVlmError as error:  # as live: no frame would help
        return refused(error)
    _check_frame(bundle)
    try:
        pending = _pending(bundle, streams, robot)
    except SpatialVlmError as error:
        return refused(error)
    try:
        frame, found = _decoded(bundle, pending)
    except SpatialVlmError as error:
        return refused(error, pending.stamp_ns)
    if not finds_anew and found is None:
        expected, repair = "those of a model or a topic", "find them with --grounder NAME"
        raise InputError("detections of the bundle", "none", expected, repair)
    if not finds_anew and record.grounding is not None:
        kept, model = record.grounding, record.model or KeptModel("a grounder")
        phrases, seen = phrases_from_json(kept.phrases), found or ()
        match = np.array(kept.match, np.float64).reshape(len(phrases), -1) if kept.match else np.zeros((0, len(seen)))
        if match.shape != (len(phrases), len(seen)):
            got = f"a match matrix of shape {match.shape} for {len(phrases)} phrases and {len(seen)} detections"
            raise FileError(bundle.path, got, "use the bundle as the node wrote it", "grounding")
        grounding = Grounding(seen, match, tuple(kept.unread), kept.profile)
        domain = cast(ModelDomain, model.domain)
        decision = dataclasses.replace(resolver.config.decision, taught="")  # its names are in the grounding
        config = dataclasses.replace(resolver.config, decision=decision)
        resolver = Resolver(config, KeptGrounder(phrases, grounding, domain, model.name))
    given = found if not finds_anew and record.grounding is None else None
    resolution, seen, scene, _ = resolver.look_at(frame, given, UNMEASURED).ask(
        words, said_frame, before or (), taken=taken
    )
    return ReplayedAnswer(resolution, frame, seen, frame.stamp_ns, scene)


def differences(then: Resolution, now: Resolution) -> tuple[str, ...]:
    """Fields in which two answers differ, without their times."""
    one, other = resolution_json(then), resolution_json(now)
    return tuple(name for name in one if name not in _TIMES and one[name] != other.get(name))


def _check_frame(bundle: EvidenceBundle) -> None:
    if bundle.record.frame == "none":
        said = f"{bundle.record.resolution.get('status')}: {bundle.record.resolution.get('message')}"
        raise InputError(f"{bundle.path}", "no frame", "a frame", f"the decision had none ({said})")


def _pending(bundle: EvidenceBundle, streams: StreamConfig, robot: roles.SeenRobot | None) -> roles.PendingFrame:
    _check_frame(bundle)
    assembler = roles.FrameAssembler(streams, with_detections=False, robot=robot)
    for message, static in bundle.transforms:
        assembler.transforms.add_message(message, static)
    anew = bundle.record.reencoded
    return assembler.assemble({role: message for role, message in bundle.messages.items() if role not in anew})


def _decoded(bundle: EvidenceBundle, pending: roles.PendingFrame) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
    frame, found = pending.decode()
    if roles.DETECTIONS in bundle.record.reencoded:  # they are of the decoded image: none is to be turned back
        found = detections_of(bundle.messages[roles.DETECTIONS], frame.camera.width, frame.camera.height)
    return frame, found
