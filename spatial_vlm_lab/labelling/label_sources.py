# SPDX-License-Identifier: Apache-2.0
"""Sources of the frames to label: a folder of frames, or the complete frames of a bag."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_lab.scoring.bag_cases import heard_of, taken_frames
from spatial_vlm_lab.scoring.frame_truth import read_frame_truth
from spatial_vlm_lab.scoring.sources import is_same_bag
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.parameters import StreamConfig
from spatial_vlm_ros.recording.answering import FolderFrames
from spatial_vlm_ros.recording.bags.reader import Bag
from spatial_vlm_ros.recording.bags.topics import INSTRUCTION
from spatial_vlm_ros.recording.cases import Case
from spatial_vlm_ros.recording.frame_folder import RGB_FILE
from spatial_vlm_ros.streams.frame_assembler import DETECTIONS, SECOND, FrameAssembler, PendingFrame
from spatial_vlm_ros.streams.seen_robot import SeenRobot
from spatial_vlm_ros.types import Detection, RgbdFrame, Transform

MOST_FRAMES = 2000
"""Of a bag: their images are kept on disk while the page is open, 0.6 to 1.0 MB each (8 real frames of 640x480)."""


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
