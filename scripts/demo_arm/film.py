# SPDX-License-Identifier: Apache-2.0
"""Write a small film of the camera's images, each with a line of text below, evenly in simulated time."""

from __future__ import annotations

import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import cv2
import numpy as np

WIDTH = 480  # px
FPS = 10.0
PACE = 2.0  # simulated seconds per second of film
HOLD = 15  # repetitions of the last image
_LONGEST_GAP = 5  # most repetitions of an image if the next one is late
_BAR = 32  # px, height of the text line
_ENCODINGS = ("vp09", "mp4v")  # browsers play VP9; the other one is available everywhere in OpenCV


class Film:
    """Writes each added image to the film; `close` it, or use it as a context.

    Args:
        folder: folder for `film.mp4`.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / "film.mp4"
        self.encoding = ""
        self.frames = 0
        self._last: Any = None
        self._due = 0.0  # simulated s
        self._writer: Any = None
        self._lock = threading.Lock()

    def add(self, rgb: Any, words: str, now: float) -> None:
        """Add an image with its text; the previous image is shown until this one's time.

        Args:
            rgb: height × width × 3, RGB.
            words: text of the line below it.
            now: simulated seconds; an image that is too early is left out.

        Raises:
            SystemExit: OpenCV has no encoder for the film.
        """
        height = round(rgb.shape[0] * WIDTH / rgb.shape[1])
        small = cv2.resize(rgb, (WIDTH, height), interpolation=cv2.INTER_AREA)
        image = np.full((height + _BAR, WIDTH, 3), 24, np.uint8)
        image[:height] = small[:, :, ::-1]
        at = (10, height + 21)
        cv2.putText(image, words, at, cv2.FONT_HERSHEY_SIMPLEX, 0.46, (235, 235, 235), 1, cv2.LINE_AA)
        with self._lock:
            if self._writer is None:
                self._open((WIDTH, height + _BAR))
                self._due = now
            elif now < self._due - PACE / FPS / 2:
                return
            late = min(round((now - self._due) * FPS / PACE), _LONGEST_GAP)
            for _ in range(late):
                self._write(self._last)
            self._due = now + PACE / FPS
            self._write(image)

    def _open(self, size: tuple[int, int]) -> None:
        for encoding in _ENCODINGS:
            writer = cv2.VideoWriter(str(self.path), cv2.VideoWriter.fourcc(*encoding), FPS, size)
            if writer.isOpened():
                self._writer, self.encoding = writer, encoding
                return
        raise SystemExit("OpenCV here has no encoder for MP4; install opencv-python-headless")

    def _write(self, image: Any) -> None:
        self._writer.write(image)
        self._last = image
        self.frames += 1

    def close(self) -> None:
        """Show the last image for a while, and finish the file."""
        with self._lock:
            if self._writer is None:
                return
            for _ in range(HOLD):
                self._write(self._last)
            self._writer.release()
            self._writer = None

    def __enter__(self) -> Film:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()
