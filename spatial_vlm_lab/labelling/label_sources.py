# SPDX-License-Identifier: Apache-2.0
"""Sources of the frames to label: a folder of frames, or the complete frames of a bag."""

from __future__ import annotations

import dataclasses
import os
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_lab.scoring.bag_cases import heard_of, taken_frames
from spatial_vlm_lab.scoring.frame_truth import read_frame_truth
from spatial_vlm_lab.scoring.truth_file import is_same_bag
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
    """A frame with what is known of it.

    Args:
        detections: detections that came with it; None = ask the grounder.
        base_T_camera: the camera's pose for places: the resolver's, or the one of truth.json; None = not known.
    """

    frame: RgbdFrame
    detections: tuple[Detection, ...] | None
    base_T_camera: Transform | None


class FolderSource:
    """The frames of a folder, by number: its subfolders with an rgb.png.

    Attributes:
        names: display names of the frames, in order.
    """

    def __init__(self, folder: str | Path, *, ask_grounder: bool) -> None:
        self._folder, self._ask_grounder = Path(folder), ask_grounder
        if not self._folder.is_dir():
            raise FileError(folder, "no such folder", "pass a folder that holds frame folders")
        self.names = tuple(sorted(one.name for one in self._folder.iterdir() if (one / RGB_FILE).is_file()))
        if not self.names:
            repair = "pass a folder whose subfolders hold rgb.png, depth.png and camera_info.json"
            raise InputError("--frames", f"{folder} without a frame", "one or more frames", repair)
        self._number = {name: n for n, name in enumerate(self.names)}
        self._frames = FolderFrames(self._folder)

    def number_of(self, case: Mapping[str, Any]) -> int | None:
        """Frame number of a line of the truth file; None if it is about another frame."""
        name = case.get("frame")
        return self._number.get(name) if isinstance(name, str) else None

    def naming(self, number: int) -> dict[str, Any]:
        """The fields that name a frame in the truth file."""
        return {"frame": self.names[number]}

    def load(self, number: int) -> FrameToLabel:
        """A frame.

        Raises:
            SpatialVlmError: it cannot be read.
        """
        name = self.names[number]
        found = self._frames.load(name)
        if isinstance(found, SpatialVlmError):
            raise found
        frame, detections = found
        truth = read_frame_truth(self._folder, Case(name, ""))
        pose = frame.base_T_camera if truth is None else truth.base_T_camera
        return FrameToLabel(frame, None if self._ask_grounder else detections, pose)


class BagSource:
    """Complete frames of a bag, as `replay --every` answers on them, kept in a temporary folder.

    Close it, or use it in a `with` statement.

    Args:
        truth_folder: folder of the truth file, which names the bag by its relative path.
        config: tolerances and frames, as the live node's.
        apart: least seconds between the stamps of two frames; 0 = every complete frame.
    """

    def __init__(
        self, bag: Bag, truth_folder: Path, roles: Mapping[str, str], config: StreamConfig, apart: float = 1.0,
        robot: SeenRobot | None = None,
    ) -> None:  # fmt: skip
        self._path = bag.path if isinstance(bag.path, str) else str(bag.path.resolve())
        self._truth_folder = truth_folder
        self._with_detections = DETECTIONS in roles
        self._folder = tempfile.TemporaryDirectory(prefix="spatial_vlm_label_")
        self._frames: list[tuple[int, dict[str, Any], list[Detection] | None]] = []
        try:
            self._spool(bag, roles, config, apart, robot)
        except BaseException:
            self.close()
            raise
        self._stamps = tuple(stamp for stamp, _, _ in self._frames)
        self._number = {stamp: n for n, stamp in enumerate(self._stamps)}
        self.names = tuple(f"{stamp / SECOND:.3f} s" for stamp in self._stamps)

    def _spool(
        self, bag: Bag, roles: Mapping[str, str], config: StreamConfig, apart: float, robot: SeenRobot | None
    ) -> None:
        seen: set[int] = set()  # a stamp means the first image that has it, as to `evaluate`
        last, why = -1, None
        for pending in _complete(bag, roles, config, robot):
            if isinstance(pending, SpatialVlmError):
                why = why or pending
                continue
            if pending.stamp_ns in seen or (seen and abs(pending.stamp_ns - last) < apart * SECOND):
                continue
            if len(self._frames) == MOST_FRAMES:
                got, repair = f"more than {MOST_FRAMES} frames of {bag.path}", "raise --apart"
                raise InputError("--bag", got, "fewer frames to label", repair)
            last = pending.stamp_ns
            seen.add(last)
            self._keep(*pending.decode())
        if not self._frames:
            raise why or InputError("--bag", "no complete frame", "colour and depth with one stamp", "set its topics")

    def _keep(self, frame: RgbdFrame, detections: tuple[Detection, ...] | None) -> None:
        arrays: dict[str, Any] = {"rgb": frame.rgb, "depth": frame.depth}
        fields = {one.name: getattr(frame, one.name) for one in dataclasses.fields(frame) if one.name not in arrays}
        arrays |= {f"mask_{n}": one.mask for n, one in enumerate(detections or ()) if one.mask is not None}
        bare = None if detections is None else [dataclasses.replace(one, mask=None) for one in detections]
        try:
            np.savez_compressed(self._file(len(self._frames)), **arrays)
        except OSError as error:
            repair = "make room there, or raise --apart"
            raise FileError(self._folder.name, error.strerror or str(error), repair) from error
        self._frames.append((frame.stamp_ns, fields, bare))

    def _file(self, number: int) -> Path:
        return Path(self._folder.name) / f"{number}.npz"

    def number_of(self, case: Mapping[str, Any]) -> int | None:
        """See FolderSource. A line that names no bag is about this one."""
        stamp, named = case.get("stamp_ns"), case.get("bag", "")
        is_ours = isinstance(named, str) and (not named or is_same_bag(named, self._path, self._truth_folder))
        return self._number.get(stamp) if is_ours and isinstance(stamp, int) else None

    def naming(self, number: int) -> dict[str, Any]:
        """See FolderSource."""
        named = self._path if "://" in self._path else os.path.relpath(self._path, self._truth_folder)
        return {"bag": named, "stamp_ns": self._stamps[number]}

    def load(self, number: int) -> FrameToLabel:
        """See FolderSource."""
        _, fields, bare = self._frames[number]
        detections = None
        with np.load(self._file(number), allow_pickle=False) as kept:
            frame = RgbdFrame(kept["rgb"], kept["depth"], **fields)
            if bare is not None:
                masks = (kept.get(f"mask_{n}") for n in range(len(bare)))
                detections = tuple(dataclasses.replace(one, mask=mask) for one, mask in zip(bare, masks, strict=True))
        return FrameToLabel(frame, detections if self._with_detections else None, frame.base_T_camera)

    def close(self) -> None:
        """Remove the temporary folder."""
        self._folder.cleanup()

    def __enter__(self) -> BagSource:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


LabelSource = FolderSource | BagSource


def _complete(
    bag: Bag, roles: Mapping[str, str], config: StreamConfig, robot: SeenRobot | None
) -> Iterator[PendingFrame | SpatialVlmError]:
    """Every complete frame of a bag in order; in the place of one that cannot be used, why."""
    assembler, now_ns = FrameAssembler(config, DETECTIONS in roles, robot=robot), bag.start_ns
    given = {role: topic for role, topic in roles.items() if role != INSTRUCTION}
    for heard, now_ns in heard_of(bag, given):
        for role, message in heard:
            assembler.add(role, message, now_ns)
        yield from taken_frames(assembler, now_ns)
        assembler.forget_older()
    late_ns = now_ns + round((config.transform_timeout + 1.0) * SECOND)  # what waits for a transform waits no more
    yield from taken_frames(assembler, late_ns)
