# SPDX-License-Identifier: Apache-2.0
"""Camera and detector output of the cell, as from a real camera and an imperfect detector."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from spatial_vlm_ros.sim.arm.cell import ArmCell
from spatial_vlm_ros.sim.grounder import DetectorErrors, degraded, in_millimetres
from spatial_vlm_ros.sim.meshes import Array
from spatial_vlm_ros.sim.physics import SceneRenderer
from spatial_vlm_ros.sim.sensor import STEREO, noisy
from spatial_vlm_ros.types import Detection, PinholeCamera, RgbdFrame, Transform


class ArmView:
    """Draws the cell from a copy of its state, so that the cell can continue. Use and `close()` it in one thread."""

    def __init__(
        self, cell: ArmCell, camera: PinholeCamera, errors: DetectorErrors | None = None, seed: int = 0,
        noise: bool = True,
    ) -> None:  # fmt: skip
        self._mj, self._model = cell.mj, cell.model
        self._data = cell.mj.MjData(cell.model)
        self.camera, self._errors, self._seed, self._noise = camera, errors or DetectorErrors(), seed, noise
        self._range = cell.layout.scenery.max_range
        self._renderer = SceneRenderer(cell.model, self._data, {obj.id: obj for obj in cell.layout.objects})
        self._shots = 0

    def close(self) -> None:
        """Free the drawing context."""
        self._renderer.close()

    def look(self, qpos: Array, base_T_camera: Transform, stamp_ns: int = 0,
             told: Transform | None = None) -> tuple[RgbdFrame, tuple[Detection, ...]]:  # fmt: skip
        """Return a frame and its detections, from a copy of `cell.data.qpos` and the camera's pose in the base frame.

        The frame states the pose `told`, None = the true one; its depth is in metres, with noise in whole millimetres.
        """
        self._data.qpos[:] = qpos
        self._mj.mj_kinematics(self._model, self._data)
        self._mj.mj_comPos(self._model, self._data)
        self._mj.mj_camlight(self._model, self._data)
        image = self._renderer.draw(self.camera, base_T_camera)
        frame = image.frame(self.camera, told or base_T_camera, self._range, stamp_ns)
        self._shots += 1
        rng = np.random.default_rng((self._seed, self._shots))
        if self._noise:
            frame = noisy(frame, rng, STEREO, self._renderer.shiny(image.geom))
            frame = replace(frame, depth=in_millimetres(frame.depth))
        found = self._renderer.detections(self._renderer.masks(image.geom))
        return frame, degraded(found, self._errors, rng)
