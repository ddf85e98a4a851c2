# SPDX-License-Identifier: Apache-2.0
"""The truth file as lines. A line that is not changed keeps its bytes, whether or not this package understands it.

A change is written to a temporary file beside it, synced and renamed: after a crash the file is either the old or the
new one. Changes by another program are detected first, and a lock file prevents two writers.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import glob
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_lab.scoring.frame_truth import read_frame_truth
from spatial_vlm_lab.scoring.sources import heard_of, is_same_bag, taken_frames
from spatial_vlm_ros.budgets import MOST_FRAMES
from spatial_vlm_ros.errors import FileChangedError, FileError, InputError, SpatialVlmError
from spatial_vlm_ros.files.reading import read_bytes, real
from spatial_vlm_ros.files.writing import PART, write_bytes
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.bags.topics import INSTRUCTION, Bag
from spatial_vlm_ros.recording.cases import CASE_REPAIR, Case, CaseLine
from spatial_vlm_ros.recording.frame_folder import RGB_FILE, decode_json
from spatial_vlm_ros.recording.replay import FolderFrames
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, SECOND, FrameAssembler, PendingFrame, SeenRobot
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

_LARGEST = 256 * 1024 * 1024  # bytes; a million cases are less
_LEFT = 60.0  # s after which a temporary file was left by a page that was killed
_WRITTEN = "choose a writable place, or make room; nothing was changed"


class LabelLine:
    """One line of the file, without the line end; `original` are the bytes that were read, None if it was added.

    Its `value` is its JSON object; None if it is something else, or names a field twice.
    """

    def __init__(self, raw: bytes, original: bytes | None) -> None:
        self.original = original
        self.set(raw)

    def set(self, raw: bytes) -> None:
        """Replace its bytes."""
        self.raw = raw
        try:
            value = json.loads(raw, object_pairs_hook=_unique, parse_constant=_not_json)
        except (ValueError, RecursionError):
            value = None
        self.value: dict[str, Any] | None = value if isinstance(value, dict) else None

    @property
    def is_changed(self) -> bool:
        """Whether it differs from the line that was read."""
        return self.raw != self.original


class LabelFile(contextlib.AbstractContextManager["LabelFile"]):
    """A truth file that one process writes. Close it, or use it in a `with` statement."""

    def __init__(self, path: str | Path) -> None:
        self.path = real(path, "choose another file")
        if not self.path.parent.is_dir():
            raise FileError(self.path, "its folder does not exist", "create the folder, or choose another file")
        self._lock_path = self.path.with_name(f".{self.path.name}.lock")
        self._lock: int | None = _locked(self._lock_path, self.path)
        self._removed: list[bytes] = []
        for left in self.path.parent.glob(f".{glob.escape(self.path.name)}.*{PART}"):  # of pages that were killed
            with contextlib.suppress(OSError):
                if time.time() - left.stat().st_mtime > _LEFT:  # a new one may be another program's
                    left.unlink()
        try:
            self._read()
        except BaseException:
            self.close()
            raise

    def _read(self) -> None:
        self._known = _content(self.path)
        parts = self._known.split(b"\n")
        if parts[-1] == b"":
            parts.pop()
        self.lines = [LabelLine(part, part) for part in parts]

    # -------------------------------------------------------------------------------------------- changes

    @property
    def is_saved(self) -> bool:
        """Whether the file has all changes."""
        return not self._removed and not any(line.is_changed for line in self.lines)

    def put(self, line: LabelLine, value: Mapping[str, Any]) -> None:
        """Change a line; keeps a Windows line end."""
        line.set(_line(value) + (b"\r" if line.raw.endswith(b"\r") else b""))

    def add(self, value: Mapping[str, Any]) -> LabelLine:
        """Add a line after the last one of the same frame, or at the end."""
        line, frame = LabelLine(_line(value), None), frame_of(value)
        near = [n for n, other in enumerate(self.lines) if other.value is not None and frame_of(other.value) == frame]
        self.lines.insert(near[-1] + 1 if near else len(self.lines), line)
        return line

    def remove(self, line: LabelLine) -> None:
        """Remove a line."""
        self.lines.remove(line)
        if line.original is not None:
            self._removed.append(line.original)

    # -------------------------------------------------------------------------------------------- writing

    def save(self) -> None:
        """Write the lines atomically; does nothing if the file already has them."""
        if _content(self.path) != self._known:
            raise FileChangedError(self.path)
        if self.is_saved:
            return
        data = b"".join(line.raw + b"\n" for line in self.lines)
        replace_file(self.path, data)
        self._known, self._removed = data, []
        for line in self.lines:
            line.original = line.raw

    def rebase(self) -> None:
        """Read the file again and apply this page's changes to it. `lines` has new objects afterwards.

        A line that both have changed becomes this page's, with the other one kept in its field "replaced".
        """
        ours, removed = [line for line in self.lines if line.is_changed], self._removed
        self._read()
        self._removed = []
        for raw in removed:
            for line in [line for line in self.lines if line.raw == raw]:
                self.remove(line)
        for change in ours:
            same = [line for line in self.lines if change.original is not None and line.raw == change.original]
            if same:
                same[0].set(change.raw)
                continue
            value = change.value or {}
            key = (frame_of(value), words_of(value))
            cases = ((line, line.value) for line in self.lines if line.value is not None)
            there, theirs = next((one for one in cases if (frame_of(one[1]), words_of(one[1])) == key), (None, None))
            if there is None or theirs is None:
                self.add(value)
            elif theirs != value:
                before = {**value.get("replaced", {}), "by_somebody_else": theirs}
                self.put(there, {**theirs, **value, "replaced": before})

    def close(self) -> None:
        """Release the lock. May be called twice."""
        if self._lock is not None:
            with contextlib.suppress(OSError):
                self._lock_path.unlink()
            os.close(self._lock)
            self._lock = None

    def __exit__(self, *_: object) -> None:
        self.close()


def refused_lines(file: LabelFile) -> tuple[tuple[int, str], ...]:
    """Numbers, from 1, of the non-blank lines that `evaluate` refuses, and why; the page leaves them as they are."""
    found = []
    for n, line in enumerate(file.lines, 1):
        if not line.raw.strip():
            continue
        try:
            decode_json(line.raw, CaseLine, file.path, f"line {n}", CASE_REPAIR)
        except FileError as error:
            found.append((n, error.got))
    return tuple(found)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file through a temporary one beside it, with the mode of the one that it replaces."""
    try:
        write_bytes(path, data, force=True)
    except FileError as error:
        raise FileError(path, error.got, _WRITTEN) from error


def _locked(lock: Path, path: Path) -> int | None:
    """A descriptor that holds the lock; the file is unlinked by who holds it, so it is looked at again."""
    try:
        while True:
            fd = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            with contextlib.ExitStack() as stack:
                stack.callback(os.close, fd)
                try:
                    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                except BlockingIOError as error:
                    holder = os.read(fd, 20).decode("ascii", "replace").strip()
                    who = f" (process {holder})" if holder.isdigit() else ""
                    repair = "close that page, or choose another file with --out"
                    raise FileError(path, f"another labelling page{who} has it open", repair) from error
                if lock.exists() and os.fstat(fd).st_ino == lock.stat().st_ino:
                    os.ftruncate(fd, 0)
                    os.write(fd, f"{os.getpid()}\n".encode())
                    stack.pop_all()
                    return fd
    except OSError as error:
        reason = f"the lock file beside it cannot be written: {error.strerror or error}"
        raise FileError(path, reason, "choose a file with --out in a writable folder") from error


def _content(path: Path) -> bytes:
    """All of a regular file; nothing of one that is missing."""
    try:
        return read_bytes(path, "check its permissions, or choose another file of cases", _LARGEST)
    except FileError as error:
        if isinstance(error.__cause__, FileNotFoundError):
            return b""
        raise


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field twice")
    return dict(pairs)


def _not_json(name: str) -> float:
    raise ValueError(f"{name} is not JSON")


def _line(value: Mapping[str, Any]) -> bytes:
    return json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8", "replace")


def frame_of(value: Mapping[str, Any]) -> tuple[Any, ...]:
    """Which frame a line is about."""
    return tuple(value.get(name) for name in ("frame", "bag", "stamp_ns"))


def words_of(value: Mapping[str, Any]) -> str | None:
    """The sentence of a line; None if it is not a case."""
    said = [value[name] for name in ("instruction", "question") if name in value]
    return said[0] if len(said) == 1 and isinstance(said[0], str) else None


# ------------------------------------------------------------------------------------------------ sources


@dataclasses.dataclass(frozen=True, eq=False)
class FrameToLabel:
    """A frame with what is known of it."""

    frame: RgbdFrame
    detections: tuple[Detection, ...] | None  # that came with it; None = ask the grounder
    base_T_camera: Transform | None  # for places: the resolver's, or the one of truth.json


@dataclasses.dataclass(frozen=True)
class LabelSource:
    """Frames to label, by number."""

    names: tuple[str, ...]
    naming: Callable[[int], dict[str, Any]]  # the fields that name a frame in the truth file
    number_of: Callable[[Mapping[str, Any]], int | None]  # a line of the truth file; None if it is about another frame
    load: Callable[[int], FrameToLabel]


def folder_source(folder: str | Path, *, ask_grounder: bool) -> LabelSource:
    """The frames of a folder: its subfolders with an rgb.png."""
    folder = Path(folder)
    if not folder.is_dir():
        raise FileError(folder, "no such folder", "pass a folder that holds frame folders")
    names = tuple(sorted(one.name for one in folder.iterdir() if (one / RGB_FILE).is_file()))
    if not names:
        repair = "pass a folder whose subfolders hold rgb.png, depth.png and camera_info.json"
        raise InputError("--frames", f"{folder} without a frame", "one or more frames", repair)
    frames, numbers = FolderFrames(folder), {name: n for n, name in enumerate(names)}

    def load(number: int) -> FrameToLabel:
        found = frames.load(names[number])
        if isinstance(found, SpatialVlmError):
            raise found
        frame, detections = found
        truth = read_frame_truth(folder, Case(names[number], ""))
        pose = frame.base_T_camera if truth is None else truth.base_T_camera
        return FrameToLabel(frame, None if ask_grounder else detections, pose)

    return LabelSource(
        names,
        lambda number: {"frame": names[number]},
        lambda case: numbers.get(name) if isinstance(name := case.get("frame"), str) else None,
        load,
    )


@contextmanager
def bag_source(
    bag: Bag, truth_folder: Path, roles: Mapping[str, str], config: StreamConfig, apart: float = 1.0,
    robot: SeenRobot | None = None,
) -> Iterator[LabelSource]:  # fmt: skip
    """Complete frames of a bag, at least `apart` seconds from each other, kept in a temporary folder.

    The truth file names the bag by its path relative to `truth_folder`.
    """
    path = bag.path if isinstance(bag.path, str) else str(bag.path.resolve())
    with tempfile.TemporaryDirectory(prefix="spatial_vlm_label_") as folder:
        complete = enumerate(_apart(bag, roles, config, apart, robot))
        kept = {frame.stamp_ns: _FrameOnDisk(Path(folder, f"{n}.npz"), frame, found) for n, (frame, found) in complete}
        stamps = tuple(kept)
        numbers = {stamp: n for n, stamp in enumerate(stamps)}

        def naming(number: int) -> dict[str, Any]:
            named = path if "://" in path else os.path.relpath(path, truth_folder)
            return {"bag": named, "stamp_ns": stamps[number]}

        def number_of(case: Mapping[str, Any]) -> int | None:
            stamp, named = case.get("stamp_ns"), case.get("bag", "")  # a line that names no bag is about this one
            is_ours = isinstance(named, str) and (not named or is_same_bag(named, path, truth_folder))
            return numbers.get(stamp) if is_ours and isinstance(stamp, int) else None

        def load(number: int) -> FrameToLabel:
            frame, detections = kept[stamps[number]].read()
            return FrameToLabel(frame, detections if DETECTIONS in roles else None, frame.base_T_camera)

        yield LabelSource(tuple(f"{stamp / SECOND:.3f} s" for stamp in stamps), naming, number_of, load)


class _FrameOnDisk:
    """A frame whose arrays are in a file."""

    def __init__(self, file: Path, frame: RgbdFrame, detections: tuple[Detection, ...] | None) -> None:
        self._file = file
        arrays: dict[str, Any] = {"rgb": frame.rgb, "depth": frame.depth}
        self._fields = {
            one.name: getattr(frame, one.name) for one in dataclasses.fields(frame) if one.name not in arrays
        }
        arrays |= {f"mask_{n}": one.mask for n, one in enumerate(detections or ()) if one.mask is not None}
        self._bare = None if detections is None else [dataclasses.replace(one, mask=None) for one in detections]
        try:
            np.savez_compressed(file, **arrays)
        except OSError as error:
            repair = "make room there, or raise --apart"
            raise FileError(file.parent, error.strerror or str(error), repair) from error

    def read(self) -> tuple[RgbdFrame, tuple[Detection, ...] | None]:
        with np.load(self._file, allow_pickle=False) as arrays:
            frame = RgbdFrame(arrays["rgb"], arrays["depth"], **self._fields)
            if self._bare is None:
                return frame, None
            masks = [arrays.get(f"mask_{n}") for n in range(len(self._bare))]
        return frame, tuple(dataclasses.replace(one, mask=mask) for one, mask in zip(self._bare, masks, strict=True))


def _apart(
    bag: Bag, roles: Mapping[str, str], config: StreamConfig, apart: float, robot: SeenRobot | None
) -> Iterator[tuple[RgbdFrame, tuple[Detection, ...] | None]]:
    """Complete frames with stamps so many seconds apart, each stamp once."""
    assembler, now_ns = FrameAssembler(config, DETECTIONS in roles, robot=robot), bag.start_ns
    given = {role: topic for role, topic in roles.items() if role != INSTRUCTION}

    def complete() -> Iterator[PendingFrame | SpatialVlmError]:
        nonlocal now_ns
        for heard, now_ns in heard_of(bag, given):
            for role, message in heard:
                assembler.add(role, message, now_ns)
            yield from taken_frames(assembler, now_ns)
            assembler.forget_older()
        late_ns = now_ns + round((config.transform_timeout + 1.0) * SECOND)  # what waits for a transform waits no more
        yield from taken_frames(assembler, late_ns)

    seen: set[int] = set()  # a stamp means the first image that has it, as to `evaluate`
    last, why = -1, None
    for pending in complete():
        if isinstance(pending, SpatialVlmError):
            why = why or pending
            continue
        if pending.stamp_ns in seen or (seen and abs(pending.stamp_ns - last) < apart * SECOND):
            continue
        if len(seen) == MOST_FRAMES:
            got, repair = f"more than {MOST_FRAMES} frames of {bag.path}", "raise --apart"
            raise InputError("--bag", got, "fewer frames to label", repair)
        last = pending.stamp_ns
        seen.add(last)
        yield pending.decode()
    if not seen:
        raise why or InputError("--bag", "no complete frame", "colour and depth with one stamp", "set its topics")
