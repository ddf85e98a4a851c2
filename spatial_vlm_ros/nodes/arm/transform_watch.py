# SPDX-License-Identifier: Apache-2.0
"""Detects a jump of the camera's pose or a move of the base, even a brief one, before a motion begins."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from typing import Any

from spatial_vlm_ros.errors import InputError, SceneChangedError, SpatialVlmError, TransformUnavailableError
from spatial_vlm_ros.manipulation.planning.motion import check_base_still, check_no_jump
from spatial_vlm_ros.parameters import ObservationConfig
from spatial_vlm_ros.streams.sources import clock_set_back
from spatial_vlm_ros.streams.transforms import SECOND, TransformBuffer
from spatial_vlm_ros.types import Transform

PATIENCE = 2.0  # s of wall-clock time: transforms may come later than the images they belong to
_KEPT = (10.0, 60.0)  # s: transforms are kept for max_age within these limits, for an answer comes later than its image


class TransformWatch:
    """Watches transforms. `add` is called on the executor's thread, other methods on any thread.

    The camera is watched relative to the base: a moving transform has jumped if it is impossibly fast, a static one if
    it changes at all. The base is watched if `fixed_frame` names a fixed frame: it has moved if at any time it was
    farther from its pose at the first look than allowed.

    Args:
        patience: seconds to wait for a transform that may still come.
        now_ns: the node's time, nanoseconds; None = the clocks of the transforms are not checked.
    """

    def __init__(
        self, config: ObservationConfig, patience: float = PATIENCE, now_ns: Callable[[], int] | None = None
    ) -> None:
        self._config, self._patience, self._now_ns = config, patience, now_ns
        self._buffer = TransformBuffer(int(min(max(config.max_age, _KEPT[0]), _KEPT[1]) * SECOND))
        self._changed = threading.Condition()
        self._frames: tuple[str, str] | None = None
        self._last: tuple[int, Transform] | None = None
        self._begun: tuple[str, int] | None = None  # base frame, and stamp of the first look
        self._then: Transform | None = None  # fixed_T_base at that stamp, once it is known
        self._moved: SpatialVlmError | None = None

    def follow(self, base: str, camera: str, stamp_ns: int) -> None:
        """Start or continue watching; the base is compared with the first look after `forget`.

        Args:
            base: the planning frame.
            camera: the camera's optical frame.
            stamp_ns: stamp of the image, nanoseconds.
        """
        if self._config.fixed_frame.removeprefix("/") == base.removeprefix("/"):
            expected = "a frame that stays still, such as odom or map"
            raise InputError("observation.fixed_frame", repr(base), expected, 'set it to such a frame, or to ""')
        with self._changed:
            if self._frames != (base, camera):
                self._frames, self._last = (base, camera), None
            if self._begun is None:
                self._begun = (base, stamp_ns)
            self._look()

    def forget(self) -> None:
        """Begin a new request: forget what was seen before."""
        with self._changed:
            self._frames = self._last = self._begun = self._then = self._moved = None

    def time_jumped(self) -> None:
        """Handle a clock that was set back: forget transforms; plans made before are invalid."""
        with self._changed:
            self._buffer.clear()
            self._last = None
            if self._begun is not None and self._moved is None:
                self._moved = clock_set_back()
            self._changed.notify_all()

    def now(self) -> float:
        """The node's time, seconds; 0 where clocks are not checked."""
        return 0.0 if self._now_ns is None else self._now_ns() / SECOND

    def age(self, stamp_ns: int) -> float:
        """Seconds since a stamp, by the node's time; 0 where clocks are not checked."""
        return 0.0 if self._now_ns is None else (self._now_ns() - stamp_ns) / SECOND

    def add(self, message: Any, static: bool) -> None:
        """Add a TFMessage; invalid transforms are ignored, as in the resolver."""
        with self._changed:
            self._buffer.add_message(message, static, None if self._now_ns is None else self._now_ns())
            self._look()
            self._changed.notify_all()

    def check(self, stamp_ns: int) -> None:
        """Raise an error if the camera jumped or the base moved since the first look.

        Args:
            stamp_ns: time up to which the pose of the base has to be known, nanoseconds.
        """
        with self._changed:
            self._raise_what_moved()
            pairs = [self._frames] if self._frames is not None else []
            if self._config.fixed_frame and self._begun is not None:
                pairs.append((self._config.fixed_frame, self._begun[0]))
            for target, source in pairs:
                self._buffer.check_clocks(target, source, self._config.transform_max_ahead)
            if not self._config.fixed_frame or self._begun is None:
                return
            base, first_ns = self._begun
            if self._then is None:
                self._then = self._base(base, first_ns)
            self._note(self._base(base, stamp_ns))
            self._look()
            self._raise_what_moved()

    def pose(self, base: str, camera: str, stamp_ns: int) -> Transform:
        """base_T_camera at an image stamp in nanoseconds; does not wait for it."""
        self._buffer.check_clocks(base, camera, self._config.transform_max_ahead)
        return self._buffer.lookup(base, camera, stamp_ns)

    def latest(self, base: str, link: str) -> Transform:
        """base_T_link by the newest transforms; TransformUnavailableError if they are older than `max_age`."""
        stamp_ns = self._buffer.latest_stamp(base, link)
        if stamp_ns is not None and not self.age(stamp_ns) <= self._config.max_age:
            reason, repair = f"the newest one is {self.age(stamp_ns):.1f} s old", "check that the arm's TF is published"
            raise TransformUnavailableError(base, link, reason, repair)
        return self._buffer.lookup(base, link)

    def used(self, *names: str) -> set[str]:
        """Frames whose pose in their parent matters for camera, base, the fixed frame and others."""
        frames = (*(self._frames or ()), self._config.fixed_frame, *names)
        return {one.child for one in self._buffer.excerpt(frames, [0])}

    def mount(self, base: str, camera: str, links: Iterable[str]) -> Transform | None:
        """link_T_camera of a camera that moves with a link.

        Args:
            base: the planning frame.
            camera: the camera's optical frame.

        Returns:
            The pose in the first link that the camera is attached to by static transforms; None if the camera does not
            move relative to the base, or is attached to none of the links.
        """
        if self._buffer.latest_stamp(base, camera) is None:
            return None
        for link in links:
            try:
                if self._buffer.latest_stamp(link, camera) is None:
                    return self._buffer.lookup(link, camera)
            except TransformUnavailableError:
                continue
        return None

    def _raise_what_moved(self) -> None:
        if self._moved is not None:
            raise self._moved

    def _base(self, base: str, stamp_ns: int) -> Transform:
        """fixed_T_base at a stamp; waits if it may still come."""
        fixed, end = self._config.fixed_frame, time.monotonic() + self._patience
        while True:
            try:
                return self._buffer.lookup(fixed, base, stamp_ns)
            except TransformUnavailableError as error:
                left = end - time.monotonic()
                if not error.may_come or left <= 0:
                    reason = f"it is not known whether the base stands still: {error.reason}"
                    repair = f'{error.repair}; if the base cannot move, set observation.fixed_frame to ""'
                    raise TransformUnavailableError(fixed, base, reason, repair, may_come=error.may_come) from error
                self._changed.wait(left)

    def _look(self) -> None:
        if self._frames is None or self._moved is not None:
            return
        try:
            now = self._buffer.lookup(*self._frames)
            sample = (self._buffer.latest_stamp(*self._frames) or 0, now)
        except SpatialVlmError:
            pass
        else:
            try:
                if self._last is not None:
                    check_no_jump([self._last, sample], self._config)
            except SceneChangedError as error:
                self._moved = error
            self._last = sample

        fixed = self._config.fixed_frame
        if not fixed or self._begun is None:
            return
        base, first_ns = self._begun
        try:
            if self._then is None:
                self._then = self._buffer.lookup(fixed, base, first_ns)
            now = self._buffer.lookup(fixed, base)
        except SpatialVlmError:
            return
        self._note(now)

    def _note(self, now: Transform) -> None:
        try:
            if self._then is not None and self._moved is None:
                check_base_still(self._then, now, self._config)
        except SceneChangedError as error:
            self._moved = error
