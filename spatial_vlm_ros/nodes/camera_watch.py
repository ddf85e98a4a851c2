# SPDX-License-Identifier: Apache-2.0
"""Whether the camera's pose jumped, also for a moment, while a plan waits for approval."""

from __future__ import annotations

import threading
from typing import Any

from spatial_vlm_ros.config import ObservationConfig
from spatial_vlm_ros.errors import SceneChangedError, SpatialVlmError
from spatial_vlm_ros.planning.motion import check_no_jump
from spatial_vlm_ros.streams.transforms import TransformBuffer
from spatial_vlm_ros.types import Transform


class CameraWatch:
    """Listens to transforms. `add` is called on the executor's thread, the others on any.

    Args:
        config: speeds above which a transform has jumped. A static one has jumped when it changes at all.
    """

    def __init__(self, config: ObservationConfig) -> None:
        self._config = config
        self._buffer = TransformBuffer()
        self._lock = threading.Lock()
        self._frames: tuple[str, str] | None = None
        self._last: tuple[int, Transform] | None = None
        self._jump: SceneChangedError | None = None

    def follow(self, base: str, camera: str) -> None:
        """Watch one pair of frames from now on; watching the same pair goes on, a jump that was seen stays seen.

        Args:
            base: the planning frame.
            camera: the camera's optical frame.
        """
        with self._lock:
            if self._frames != (base, camera):
                self._frames, self._last, self._jump = (base, camera), None, None
                self._look()

    def forget(self) -> None:
        """A new request begins: what was seen before it is of no matter."""
        with self._lock:
            self._frames = self._last = self._jump = None

    def add(self, message: Any, static: bool) -> None:
        """Take a TFMessage; transforms that cannot be used are left out, as by the resolver."""
        with self._lock:
            self._buffer.add_message(message, static)
            self._look()

    def check(self, _: int = 0) -> None:
        """Refuse where the pose jumped since `follow` was called for it.

        Raises:
            SceneChangedError: it did; says how far.
        """
        with self._lock:
            if self._jump is not None:
                raise self._jump

    def _look(self) -> None:
        if self._frames is None or self._jump is not None:
            return
        try:
            now = self._buffer.lookup(*self._frames)
        except SpatialVlmError:  # not there: the second look will say so
            return
        sample = (self._buffer.latest_stamp(*self._frames) or 0, now)
        try:
            if self._last is not None:
                check_no_jump([self._last, sample], self._config)
        except SceneChangedError as error:
            self._jump = error
        self._last = sample
