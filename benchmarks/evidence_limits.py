# SPDX-License-Identifier: Apache-2.0
"""What the limits of a frame's checks (`geometry/frame_evidence.py`) meet on healthy frames, and the faults they find.

Every number is read where its check computes it. Then frames are made faulty, each in every way: `--frames` of a folder
at most, evenly spaced. An alarm is a frame that a check contradicts, or that is refused before.

    python -m benchmarks.evidence_limits                   frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.evidence_limits --folder DIR …    and these folders of frames
"""

from __future__ import annotations

import contextlib
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from benchmarks.harness import REAL_FRAMES, arguments, finish, frames_of, share
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry import frame_evidence as checks
from spatial_vlm_ros.geometry.depth import check_depth
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.types import Detection, RgbdFrame

MOST, LEAST, OPEN = "at most", "at least", "at least (open)"
LIMITS: dict[str, tuple[str, str, float, Callable[[dict[str, Any]], float]]] = {
    "steps of depth, of a coarse camera's": ("_steps", MOST, checks._STEPS, lambda v: v["step"] / v["usual"]),
    "edges of colour": ("_colour_edges", OPEN, checks._EDGE_SHARE, lambda v: np.mean(v["strength"] >= checks._FAINT)),
    "edges of depth near them": ("_alignment", OPEN, checks._SHOWN, lambda v: np.mean(v["beside"][v["near"] > 0])),
    "fit of edges, σ": ("_alignment", LEAST, checks._NO_FIT, lambda v: (v["here"] - v["usual"]) / v["spread"]),
    "shift that fits best, px of 320": ("_alignment", MOST, checks._SHIFTED, lambda v: v["shift"]),
    "fit turned": ("_alignment", MOST, checks._TURNED, lambda v: max(v["turned"].values()) / v["best"]),
    "boxes better filled elsewhere": ("_in_boxes", MOST, checks._FILLED, lambda v: v["better"].mean()),
    "objects that rise": ("_standing", LEAST, checks._RISE, lambda v: v["share"]),
    "common factor of sizes, |log|": ("_sizes", MOST, min(checks._FACTORS), lambda v: abs(v["common"])),
    "depth on the surface": ("_up", OPEN, checks._SURFACE, lambda v: v["share"]),
    "tilt of the surface, °": ("_up", MOST, checks._TILT, lambda v: v["tilt"]),
}  # fmt: skip
"""Number → function that computes it, good side of the limit (open: beyond it nothing is measured), limit, value."""


POSE_OFF, TURN = "pose 20° off", np.eye(4)
TURN[:3, :3] = cv2.Rodrigues(np.radians([20.0, 0.0, 0.0]))[0]
FAULTS: dict[str, Callable[[RgbdFrame], dict[str, Any]]] = {
    "none": lambda _: {},
    "depth × 0.001": lambda frame: {"depth": frame.depth * 0.001},
    "depth × 1000": lambda frame: {"depth": frame.depth * 1000},
    "depth × 1.1": lambda frame: {"depth": frame.depth * 1.1},  # as sim/faults/effects.json
    "depth 8 px beside": lambda frame: {"depth": np.roll(frame.depth, 8, axis=1)},
    "depth 12 px beside": lambda frame: {"depth": np.roll(frame.depth, 12, axis=1)},
    "depth upside down": lambda frame: {"depth": np.ascontiguousarray(frame.depth[::-1, ::-1])},
    "K of twice the resolution": lambda frame: {"camera": replace(frame.camera, K=frame.camera.K * [[2], [2], [1]])},
    "K of half the resolution": lambda frame: {"camera": replace(frame.camera, K=frame.camera.K * [[0.5], [0.5], [1]])},
    POSE_OFF: lambda frame: {
        "base_T_camera": frame.base_T_camera and replace(frame.base_T_camera, matrix=frame.base_T_camera.matrix @ TURN)
    },
}
"""Fault → fields of the frame that it changes."""


def alarm(frame: RgbdFrame, detections: Sequence[Detection], told: dict[str, list[float]]) -> str:
    """The check that contradicts a frame, "refused", or "" without an alarm; numbers of the checks go to `told`."""

    def returned(call: Any, event: str, _: object) -> None:
        if event != "return" or call.f_code.co_filename != checks.__file__:
            return
        for name, (function, _, _, value) in LIMITS.items():
            with contextlib.suppress(KeyError):  # it ended before
                if call.f_code.co_name == function:
                    told[name].append(float(value(call.f_locals)))

    config = ResolverConfig()
    sys.setprofile(returned)
    try:
        check_depth(frame.depth, config.depth)
        wrong = build_scene(frame, detections, config.depth, config.lift).evidence.contradiction
    except SpatialVlmError:
        return "refused"
    finally:
        sys.setprofile(None)
    return "" if wrong is None else wrong.name


def main() -> int:
    """Measure, print and write benchmarks/results/evidence_limits.json."""
    options = arguments(__doc__, folder=[Path], frames=1000)
    told, limits = defaultdict[str, list[float]](list), {}
    alarms: dict[str, list[str]] = {fault: [] for fault in FAULTS}
    healthy: dict[str, list[str]] = {root.name: [] for root in (REAL_FRAMES, *options.folder)}
    for root in (REAL_FRAMES, *options.folder):
        folders = frames_of(root)
        every = len(folders) / max(1, min(options.frames, len(folders)))
        spaced = {int(number * every) for number in range(min(options.frames, len(folders)))}
        for number, (frame, detections) in enumerate(map(load_frame, folders)):
            for fault, change in FAULTS.items():
                if fault == "none" or (number in spaced and (fault != POSE_OFF or frame.base_T_camera is not None)):
                    faulty, into = replace(frame, **change(frame)), told if fault == "none" else defaultdict(list)
                    alarms[fault].append(alarm(faulty, detections, into))
            healthy[root.name].append(alarms["none"][-1])
    if not alarms["none"]:
        raise SystemExit(f"no frame folders at {REAL_FRAMES}; set SPATIAL_VLM_REAL_RGBD")
    for name, (_, good, limit, _) in LIMITS.items():
        if len(values := np.array(told[name])):
            quantiles = np.round(np.quantile(values, (0, 0.05, 0.5, 0.95, 1)), 3).tolist()
            beyond = share((values > limit if good == MOST else values < limit).tolist())
            limits[name] = {"good": good, "limit": limit, "quantiles": quantiles, "beyond": beyond}
    of_folders, faults = (
        {name: {"alarms": share([*map(bool, found)]), "by": Counter(filter(None, found))} for name, found in of.items()}
        for of in (healthy, alarms)
    )
    measured = {"frames": len(alarms["none"]), "folders": of_folders, "limits": limits, "faults": faults}
    return finish("evidence_limits", measured, ())


if __name__ == "__main__":
    sys.exit(main())
