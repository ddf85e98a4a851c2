# SPDX-License-Identifier: Apache-2.0
"""Claim: masks become objects more accurately than by Open3D or plain NumPy, and faster than by Open3D with cleaning.

Ours is one whole `build_scene` call: checks of the depth image, support plane, cleaning, volume, box, covariance and
visibility of all objects. The rivals only give a box for each mask. The main Open3D route crops the depth image to the
box of the mask before it makes a cloud, removes statistical outliers, and fits an oriented box. Two variants of it thin
the cloud before that, or keep the outliers. Another makes one cloud of the whole image, and fits the box of least
volume. Plain NumPy back-projects the pixels of the mask and takes the box between
two percentiles along the axes of the base frame, without cleaning, support plane or far side.

    python -m benchmarks.lifting
    python -m benchmarks.lifting --repetitions 1 --worlds 1 --masks 3    a quick look, not a measurement
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import REPETITIONS, Claim, Timing, alternate, arguments, finish
from benchmarks.scenes import camera, tabletop
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.tabletop import Rendering, World
from spatial_vlm_ros.types import Detection, RgbdFrame

INSTALL = """this benchmark compares with Open3D, which is not installed. Install it with
    apt-get install libgl1 libegl1 libx11-6 libudev1 libidn2-0 libusb-1.0-0
    pip install open3d-cpu          (or: pip install '.[bench]')"""
DISTANCES = {"700": 2.25, "3000": 1.13, "11000": 0.65}  # wanted pixels per mask → metres from the camera to the table
MASKS = 20
WORLDS = 5  # the first of them is timed, all are judged
FIRST_SEED = 10_000  # tests and development use smaller ones
LENS = camera(1280, 720, 640.0)  # as a D435's depth module
MIN_VISIBLE = 0.5  # objects hidden by more than this, or cut by the border, are not judged
FAR = 5.0
NEIGHBOURS, DEVIATIONS = 20, 2.0
VOXEL = 0.005  # metres between the points of a thinned cloud
CUT = 1.0  # percent of the points that plain NumPy drops at each end of an axis; ours drops as many
CROPPED, NUMPY = "open3d, cropped to the region of interest", "plain NumPy"
THINNED = f"open3d, cropped, {1000 * VOXEL:g} mm voxels"
FASTER = 1.2  # than the quicker of CROPPED and THINNED, which remove outliers as ours does

Centres = dict[str, npt.NDArray[np.float64]]
Lift = Callable[[RgbdFrame, Sequence[Detection]], Centres]


def ours(frame: RgbdFrame, detections: Sequence[Detection]) -> Centres:
    """Volume centres by id, (3,) metres in the camera frame."""
    config = ResolverConfig()
    return {o.id: o.box.centre for o in build_scene(frame, detections, config.depth, config.lift).objects}


def plain_numpy(frame: RgbdFrame, detections: Sequence[Detection]) -> Centres:
    """Midpoints between two percentiles of the mask's points along the axes of the base frame.

    Args:
        frame: frame with depth in metres, (H, W) float32, NaN if there is none, and the camera's pose.
        detections: detections with masks, (H, W) bool.

    Returns:
        Centres by id, (3,) metres in the camera frame.
    """
    K, turn = frame.camera.K, frame.base_T_camera.rotation
    centres: Centres = {}
    for detection in detections:
        rows, columns = region_of(frame, detection)
        depth = frame.depth[rows, columns]
        usable = detection.mask[rows, columns] & np.isfinite(depth)
        v, u = np.nonzero(usable)
        z = depth[usable]
        x, y = (u + (columns.start - K[0, 2])) * z / K[0, 0], (v + (rows.start - K[1, 2])) * z / K[1, 1]
        ends = np.percentile(turn @ np.stack((x, y, z)), (CUT, 100.0 - CUT), axis=1)
        centres[detection.id] = ends.mean(axis=0) @ turn
    return centres


def region_of(frame: RgbdFrame, detection: Detection) -> tuple[slice, slice]:
    """Rows and columns of the box about a mask."""
    x0, y0, x1, y1 = detection.box_xyxy
    height, width = frame.depth.shape
    return (
        slice(max(math.floor(y0), 0), min(math.ceil(y1), height)),
        slice(max(math.floor(x0), 0), min(math.ceil(x1), width)),
    )


def open3d_routes() -> dict[str, Lift]:
    """The Open3D routes by name."""
    try:
        import open3d as o3d
    except (ImportError, OSError) as error:
        sys.exit(f"{INSTALL}\n({error})")

    o3d.utility.set_verbosity_level(o3d.utility.VerbosityLevel.Error)

    def cloud_of(depth: npt.NDArray[np.float32], K: npt.NDArray[np.float64], left: int = 0, top: int = 0,
                 measured_only: bool = False) -> Any:  # fmt: skip
        height, width = depth.shape
        lens = o3d.camera.PinholeCameraIntrinsic(width, height, K[0, 0], K[1, 1], K[0, 2] - left, K[1, 2] - top)
        return o3d.geometry.PointCloud.create_from_depth_image(
            o3d.geometry.Image(depth), lens, depth_scale=1.0, depth_trunc=FAR, project_valid_depth_only=measured_only
        )

    def cleaned(part: Any) -> Any:
        return part.remove_statistical_outlier(nb_neighbors=NEIGHBOURS, std_ratio=DEVIATIONS)[0]

    def cropped(
        frame: RgbdFrame, detections: Sequence[Detection], voxel: float | None = None, clean: bool = True
    ) -> Centres:
        centres: Centres = {}
        for detection in detections:
            rows, columns = region_of(frame, detection)
            masked = np.where(detection.mask[rows, columns], frame.depth[rows, columns], np.float32(0.0))
            depth = np.nan_to_num(masked, copy=False)
            part = cloud_of(depth, frame.camera.K, columns.start, rows.start, measured_only=True)
            part = part if voxel is None else part.voxel_down_sample(voxel)
            part = cleaned(part) if clean else part
            centres[detection.id] = np.asarray(part.get_oriented_bounding_box().center)
        return centres

    def shared(frame: RgbdFrame, detections: Sequence[Detection]) -> Centres:
        cloud, centres = cloud_of(np.nan_to_num(frame.depth), frame.camera.K), {}
        for detection in detections:
            usable = detection.mask & np.isfinite(frame.depth)
            part = cleaned(cloud.select_by_index(np.flatnonzero(usable)))
            centres[detection.id] = np.asarray(part.get_minimal_oriented_bounding_box().center)
        return centres

    return {
        CROPPED: cropped,
        THINNED: partial(cropped, voxel=VOXEL),
        "open3d, cropped, outliers kept": partial(cropped, clean=False),
        "open3d, one cloud, minimal box": shared,
    }


def centre_errors(lift: Lift, worlds: Sequence[tuple[World, Rendering, RgbdFrame]]) -> list[float]:
    """Distances to the true centres, metres, for all judged objects; infinite if no position was given."""
    errors = []
    for world, seen, frame in worlds:
        centres = lift(frame, seen.detections)
        for detection in seen.detections:
            if seen.visible_fraction[detection.id] >= MIN_VISIBLE and not _cut(detection):
                place = frame.base_T_camera.apply(centres[detection.id][None])[0]
                error = float(np.linalg.norm(place - world[detection.id].centre))
                errors.append(error if np.isfinite(error) else np.inf)
    return errors


def _cut(detection: Detection) -> bool:
    x0, y0, x1, y1 = detection.box_xyxy
    return x0 <= 0 or y0 <= 0 or x1 >= LENS.width or y1 >= LENS.height


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, repetitions=REPETITIONS, worlds=WORLDS, masks=MASKS)
    rounds, judged, masks = given.repetitions, given.worlds, given.masks
    routes: dict[str, Lift] = {"ours": ours, **open3d_routes(), NUMPY: plain_numpy}
    sizes: dict[str, Any] = {}
    for wanted, distance in DISTANCES.items():
        worlds = [tabletop(seed, masks, LENS, distance) for seed in range(FIRST_SEED, FIRST_SEED + judged)]
        _, seen, frame = worlds[0]
        times = alternate({name: partial(lift, frame, seen.detections) for name, lift in routes.items()}, rounds)
        errors = {name: centre_errors(lift, worlds) for name, lift in routes.items()}
        sizes[wanted] = _summary(seen, times, errors)
    claims = []
    for wanted, size in sizes.items():
        each = size["routes"]
        claims += [
            Claim(f"{wanted} px: times faster than open3d, cropped and cleaned, thinned or not",
                  min(each[name]["ratio"] for name in (CROPPED, THINNED)), FASTER, "x", least=True),
            Claim(f"{wanted} px: median centre error / the rivals' best",
                  each["ours"]["centre_error_mm"]["median"]
                  / min(r["centre_error_mm"]["median"] for n, r in each.items() if n != "ours"), 1.0, "x"),
        ]  # fmt: skip
    claims.append(Claim("3000 px: ours, a mask", sizes["3000"]["routes"]["ours"]["per_mask_ms"], 1.0, "ms"))
    setting = {
        "image": [LENS.width, LENS.height],
        "masks": masks,
        "worlds_judged": judged,
        "first_seed": FIRST_SEED,
        "baseline": CROPPED,
    }
    return finish("lifting", {"setting": setting, "mask_pixels": sizes}, claims)


def _summary(seen: Rendering, times: dict[str, Timing], errors: dict[str, list[float]]) -> dict[str, Any]:
    pixels = [int(np.count_nonzero(d.mask)) for d in seen.detections]
    return {
        "pixels": {"masks": len(pixels), "median": int(np.median(pixels)), "least": min(pixels), "most": max(pixels)},
        "routes": {
            name: {
                **time.summary(),
                "per_mask_ms": round(time.median_ms / len(pixels), 4),
                "ratio": round(time.median_ms / times["ours"].median_ms, 2),
                "centre_error_mm": {
                    "median": round(float(np.median(errors[name])) * 1e3, 3),
                    "p95": round(float(np.percentile(errors[name], 95)) * 1e3, 3),
                    "n": len(errors[name]),
                },
            }
            for name, time in times.items()
        },
    }


if __name__ == "__main__":
    sys.exit(main())
