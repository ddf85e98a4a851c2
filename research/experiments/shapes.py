# SPDX-License-Identifier: Apache-2.0
"""Claim: completed by symmetry, objects seen from one side are nearer to their true centre and size than as assumed.

    python -m research.experiments.shapes --frames DIR [--frames DIR ...] [--name NAME]
    python -m research.experiments.shapes [--worlds N]    on generated tables of simple bodies

Each DIR is a folder of rendered frames with a truth.json (research/README.md, "Rendered scenes"): true pose of the
camera, and centres and sizes of the objects along the axes of base. The same frames are lifted with completion by
symmetry and without. Judged are objects of which at least half is visible and which the border does not cut, but no
table.

Errors, millimetres, by class (label): centre along the ground and in height; the mean of the two horizontal extents
along the axes of base; the height. Of the centre also the share within one and two standard deviations, along the view
on the ground, across it and upwards. Spread over views: objects of one folder, label and true height that were seen in
several frames, their longer and shorter horizontal sides in each (not of generated tables, where no two are the same).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import numpy.typing as npt

from benchmarks.harness import Claim, finish, table
from benchmarks.scenes import camera, tabletop
from research.experiments import RESULTS
from spatial_vlm_ros.geometry import extent
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.shapes import Box
from spatial_vlm_ros.types import Detection, RgbdFrame, SceneObject, Transform

Floats = npt.NDArray[np.float64]

WAYS = ("completed", "assumed")
LEAST_VISIBLE = 0.5
FEWEST = 5  # objects of a class that is reported
FEWEST_VIEWS = 3
TABLE = "table"
FIRST_SEED, WORLDS, OBJECTS = 40_000, 45, 8
LENS, DISTANCE = camera(640, 480, 550.0), 1.0
_WITHIN = (1.0, 2.0)


@dataclass(frozen=True)
class Judged:
    """One lifted object against its truth; millimetres.

    Args:
        folder: name of the data set.
        frame: name of the frame's folder.
        label: class.
        kind: how its shape was found.
        centre: (3,) error away from the camera along the ground, to the right of that, and up.
        deviations: (3,) the same in standard deviations.
        size: (3,) along the axes of base.
        true: (3,) the same in truth.
        sides: longer and shorter horizontal side of its box.
    """

    folder: str
    frame: str
    label: str
    kind: str
    centre: Floats
    deviations: Floats
    size: Floats
    true: Floats
    sides: tuple[float, float]

    @property
    def off(self) -> float:
        """Error of the centre along the ground."""
        return float(np.hypot(*self.centre[:2]))

    @property
    def wider(self) -> float:
        """Error of the mean horizontal extent."""
        return float((self.size - self.true)[:2].mean())


@dataclass(frozen=True)
class Truth:
    """Label, middle and size (3,) of an object along the axes of base, metres."""

    label: str
    middle: Floats
    size: Floats


def rendered(folder: Path) -> Iterator[tuple[str, RgbdFrame, Sequence[Detection], Transform, dict[str, Truth]]]:
    """Frames of a folder: name, frame, detections, true pose of the camera, and truth of what is judged, by id."""
    for path in sorted(folder.glob("*/truth.json")):
        truth = json.loads(path.read_text(encoding="utf-8"))
        pose = Transform("base", "camera", np.array(truth["base_T_camera"]["matrix"]))
        wanted = {
            id_: Truth(one["label"], np.array(one["center"]), np.array(one["size"]))
            for id_, one in truth["objects"].items()
            if one["visible"] >= LEAST_VISIBLE and one["label"] != TABLE
        }
        yield path.parent.name, *load_frame(path.parent), pose, wanted


def generated(worlds: int) -> Iterator[tuple[str, RgbdFrame, Sequence[Detection], Transform, dict[str, Truth]]]:
    """The same of generated tables, seen from 20 to 60 degrees above."""
    for seed in range(FIRST_SEED, FIRST_SEED + worlds):
        down_deg = 20.0 + 40.0 * (seed % 9) / 8
        world, seen, frame = tabletop(seed, OBJECTS, LENS, DISTANCE, down_deg)
        whole = {one.id for one in seen.detections if seen.visible_fraction[one.id] >= LEAST_VISIBLE}
        truth = {
            body.id: Truth(
                body.label,
                np.array(body.centre),
                np.ptp(body.corners(), axis=0) if isinstance(body.shape, Box) else np.array(body.size),
            )
            for body in world.bodies
            if body.id in whole
        }
        yield str(seed), frame, seen.detections, seen.frame.base_T_camera, truth


def judged(frames: Iterable[Any], folder: str) -> Iterator[Judged]:
    """The objects of frames, lifted and compared."""
    resolver = Resolver()
    for name, frame, detections, pose, truth in frames:
        for obj in resolver.observe(frame, detections).objects:
            if obj.id in truth and not obj.truncated and obj.depth_problem is None:
                yield _compared(obj, truth[obj.id], pose, folder, name)


def _compared(obj: SceneObject, true: Truth, pose: Transform, folder: str, frame: str) -> Judged:
    rotation, eye = pose.rotation, pose.translation
    ahead = true.middle - eye
    ahead = np.array((ahead[0], ahead[1], 0.0)) / np.hypot(*ahead[:2])
    axes = np.stack((ahead, (ahead[1], -ahead[0], 0.0), (0.0, 0.0, 1.0)))
    error = axes @ (rotation @ obj.box.centre + eye - true.middle)
    variance = np.diag(axes @ rotation @ obj.covariance[:3, :3] @ rotation.T @ axes.T)
    span = np.ptp(obj.footprint @ rotation.T, axis=0)
    longer, shorter, height = (1e3 * float(side) for side in obj.box.size)
    return Judged(
        folder, frame, true.label, obj.shape.kind if obj.shape else "", 1e3 * error, error / np.sqrt(variance),
        np.array((1e3 * span[0], 1e3 * span[1], height)), 1e3 * true.size, (longer, shorter),
    )  # fmt: skip


def summary(objects: Sequence[Judged]) -> dict[str, Any]:
    """Medians and 90th percentiles of the errors' magnitudes, bias of the extent, shares within deviations."""
    height = [float(o.size[2] - o.true[2]) for o in objects]
    z = np.abs([o.deviations for o in objects])
    return {
        "n": len(objects),
        "centre_mm": _both([o.off for o in objects]),
        "centre_along_mm": _both([float(o.centre[0]) for o in objects]),
        "centre_height_mm": _both([float(o.centre[2]) for o in objects]),
        "horizontal_extent_mm": _both([o.wider for o in objects]),
        "horizontal_extent_bias_mm": round(float(np.median([o.wider for o in objects])), 2),
        "height_mm": _both(height),
        "within_sigma": {
            f"{limit:g}": [round(float(share), 3) for share in (z <= limit).mean(axis=0)] for limit in _WITHIN
        },
    }


def _both(errors: Sequence[float]) -> dict[str, float]:
    magnitude = np.abs(errors)
    return {"median": round(float(np.median(magnitude)), 2), "p90": round(float(np.percentile(magnitude, 90)), 2)}


def views(objects: Sequence[Judged]) -> dict[str, Any]:
    """Sides of the same object in several frames: least, most and standard deviation."""
    same: dict[tuple[str, str, int], list[Judged]] = defaultdict(list)
    for one in objects:
        same[one.folder, one.label, round(float(one.true[2]))].append(one)
    found = {}
    for (folder, label, height), seen in sorted(same.items()):
        if len({one.frame for one in seen}) >= FEWEST_VIEWS:
            sides = np.array([one.sides for one in seen])
            found[f"{folder}: {label}, {height} mm high"] = {
                "n": len(seen),
                **{
                    name: [round(float(v), 1) for v in (side.min(), side.max(), side.std())]
                    for name, side in (("longer_mm", sides[:, 0]), ("shorter_mm", sides[:, 1]))
                },
            }
    return found


def main() -> int:
    """Measure and write."""
    parser = argparse.ArgumentParser(prog="python -m research.experiments.shapes")
    parser.add_argument("--frames", type=Path, action="append", help="folder of frames; may be repeated")
    parser.add_argument("--worlds", type=int, default=WORLDS, help="generated tables, where no frames are given")
    parser.add_argument("--name", default="shapes", help="of the file of figures")
    options, sys.argv[1:] = parser.parse_known_args()
    runs: dict[str, list[Judged]] = {}
    for way in WAYS:
        as_assumed = mock.patch.object(extent, "axis_of", return_value=None) if way == "assumed" else nullcontext()
        with as_assumed:
            runs[way] = [one for folder in options.frames or () for one in judged(rendered(folder), folder.name)]
            if not options.frames:
                runs[way] = list(judged(generated(options.worlds), "generated"))
    by_class: dict[str, dict[str, Any]] = {}
    for label in sorted({one.label for one in runs[WAYS[0]]}):
        of_label = {way: [one for one in run if one.label == label] for way, run in runs.items()}
        if len(of_label[WAYS[0]]) >= FEWEST:
            by_class[label] = {way: summary(some) for way, some in of_label.items()}
    every = {way: summary(run) for way, run in runs.items()}
    kinds = sorted({one.kind for one in runs[WAYS[0]]})
    by_kind = {kind: summary([one for one in runs[WAYS[0]] if one.kind == kind]) for kind in kinds}
    seen = {way: views(run) if options.frames else {} for way, run in runs.items()}
    table(
        "error, mm: median / 90th percentile, completed by symmetry against assumed",
        ("class", "n", "centre", "assumed", "extent", "assumed", "within 2 sigma along", "assumed"),
        [
            (label, ways["completed"]["n"],
             *(f"{ways[way][what]['median']:.1f} / {ways[way][what]['p90']:.1f}"
               for what in ("centre_mm", "horizontal_extent_mm") for way in WAYS),
             *(f"{ways[way]['within_sigma']['2'][0]:.2f}" for way in WAYS))
            for label, ways in {"all": every, **by_class}.items()
        ],
    )  # fmt: skip
    table(
        "the same object from several views, mm: longer and shorter side, least to most",
        ("object", "n", "completed", "assumed"),
        [
            (name, one["n"], *(" x ".join(f"{s[name][side][0]:.0f}-{s[name][side][1]:.0f}"
                                          for side in ("longer_mm", "shorter_mm")) for s in seen.values()))
            for name, one in seen[WAYS[0]].items()
        ],
    )  # fmt: skip
    done, before = every["completed"], every["assumed"]
    claims = [
        Claim("centre, 90th percentile, against assumed", done["centre_mm"]["p90"], before["centre_mm"]["p90"], "mm"),
        Claim("horizontal extent, 90th percentile, against assumed",
              done["horizontal_extent_mm"]["p90"], before["horizontal_extent_mm"]["p90"], "mm"),
        Claim("centre along the view within one deviation", done["within_sigma"]["1"][0], 0.68, "", least=True),
        Claim("centre along the view within two deviations", done["within_sigma"]["2"][0], 0.9, "", least=True),
    ]  # fmt: skip
    figures = {"every": every, "classes": by_class, "kinds": by_kind, "views": seen}
    return finish(options.name, figures, claims, RESULTS)


if __name__ == "__main__":
    sys.exit(main())
