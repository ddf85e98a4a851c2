# SPDX-License-Identifier: Apache-2.0
"""Images and films of a pick: where it begins, the grasp, and the end, from the side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.recheck_cell import Executed, execute
from spatial_vlm_ros.sim.cameras import VGA
from spatial_vlm_ros.sim.renderer import SceneRenderer
from spatial_vlm_ros.sim.tabletop import look_at

if TYPE_CHECKING:
    from research.arm_tables.picking import Pick

FPS = 15
EYE, TOWARDS = (1.15, 0.75, 0.62), (0.45, 0.0, 0.08)
Rgb = npt.NDArray[np.uint8]


class Camera:
    """Looks on while a pick is carried out.

    Args:
        pick: before it is carried out.
        images: folder of one image for each world, or "".
        film: folder of one film for each world, or "".
    """

    def __init__(self, pick: Pick, images: str, film: str) -> None:
        self._pick, self._images, self._film = pick, images, film
        self._shots: list[Rgb] = []
        self._frames: list[Rgb] = []

    def carry_out(self, pick: Pick) -> Executed:
        """As `execute`, looked at."""
        cell, count = pick.cell, 0
        renderer: Any = SceneRenderer(cell.model, cell.data)
        step = cell.step

        def draw() -> Rgb:
            return np.asarray(renderer.draw(VGA, look_at(EYE, TOWARDS, cell.arm.base_link)).rgb)

        def stepped() -> None:
            nonlocal count
            step()
            count += 1
            if self._film and count % int(1 / (FPS * cell.model.opt.timestep)) == 0:
                self._frames.append(draw())

        grip = cell.hand.grip

        def gripped(position: float, force: float) -> None:
            grip(position, force)
            if len(self._shots) < 3:
                self._shots.append(draw())

        cell.step, cell.hand.grip = stepped, gripped  # type: ignore[method-assign]
        try:
            done = execute(cell, pick.made.plan, pick.config, judged=True) if pick.made is not None else None
            self._shots.append(draw())
        finally:
            cell.step, cell.hand.grip = step, grip  # type: ignore[method-assign]
            renderer.close()
        assert done is not None
        return done

    def keep(self, row: dict[str, Any]) -> None:
        """Write what was seen."""
        words = f"{row['seed']} {row['instruction']}: {row['ended']} {row.get('stage', '')}"
        if self._images:
            Path(self._images).mkdir(parents=True, exist_ok=True)
            shots = [self._shots[k] for k in (0, 1, -1)] if len(self._shots) > 2 else self._shots or [self._start()]
            _write(Path(self._images) / f"{row['seed']}.jpg", np.hstack(shots), words)
        if self._film and self._frames:
            Path(self._film).mkdir(parents=True, exist_ok=True)
            height, width = self._frames[0].shape[:2]
            name = str(Path(self._film) / f"{row['seed']}.mp4")
            writer = cv2.VideoWriter(name, cv2.VideoWriter.fourcc(*"mp4v"), FPS, (width, height))
            for frame in self._frames:
                writer.write(cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
            writer.release()

    def _start(self) -> Rgb:
        """The table before anything moved."""
        cell = self._pick.cell
        renderer: Any = SceneRenderer(cell.model, cell.data)
        try:
            return np.asarray(renderer.draw(VGA, cell.layout.base_T_camera).rgb)
        finally:
            renderer.close()


def _write(path: Path, image: Rgb, words: str) -> None:
    shown = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
    cv2.putText(shown, words[:150], (6, 18), cv2.FONT_HERSHEY_SIMPLEX, 0.5, (0, 0, 255), 1, cv2.LINE_AA)
    cv2.imwrite(str(path), shown)
