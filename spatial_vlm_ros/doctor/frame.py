# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a frame, with fixes, in the order in which to fix them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from spatial_vlm_ros.doctor.findings import Finding, fail, first, found_in, ok, warn
from spatial_vlm_ros.errors import FileError, InputError, SpatialVlmError
from spatial_vlm_ros.geometry.depth import check_depth
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.types import Check, Detection, RgbdFrame, Scene, UpSource, Verdict

_LOW_VALID, _GOOD_VALID = 0.3, 0.6
_ROUGH_PLANE = 0.006  # metres rms; a table seen by a healthy sensor at 1 m stays below
_FACING, _STEEP = 65.0, 75.0  # degrees down
_TILTED = 3.0  # degrees, as observation.support_tilt_deg; from there on nothing is planned
_OFF_HEIGHT = 0.015  # metres between the support and its stated height


def examine(
    frame: RgbdFrame,
    detections: Sequence[Detection] = (),
    config: ResolverConfig | None = None,
    table_height: float | None = None,
) -> list[Finding]:
    """Check a frame and its detections.

    Args:
        table_height: stated height of the support, metres along z of base_T_camera's parent; None = not stated.

    Returns:
        Findings in the order in which to fix them; later checks are skipped if an earlier one failed.
    """
    config = config or ResolverConfig()
    camera = frame.camera
    fov = float(np.degrees(2 * np.arctan(camera.width / 2 / camera.K[0, 0])))
    text = f"{camera.width}x{camera.height}, fx {camera.K[0, 0]:.1f}, horizontal field of view {fov:.0f}°"
    repair = "check that K belongs to this resolution, and scale it with the image"
    findings = [ok("camera", text) if 20 <= fov <= 130 else warn("camera", text, repair)]
    if not frame.frame_id.endswith(("optical", "optical_frame")):
        repair = "use the optical frame of the camera (z forward, x right, y down), usually named *_optical_frame"
        findings.append(warn("frame id", f"{frame.frame_id!r} does not look like an optical frame", repair))
    try:
        check_depth(frame.depth, config.depth)
    except SpatialVlmError as error:
        return [*findings, found_in("depth", error)]
    measured = frame.depth[np.isfinite(frame.depth) & (frame.depth > 0)]
    share = measured.size / frame.depth.size
    text = f"{share:.0%} of the pixels measured, median {float(np.median(measured)):.2f} m"
    same, restart = f"{text}, all equal", "restart the depth stream: real depth varies"
    poor = "expect objects without depth; black, shiny or far surfaces measure badly"
    of_depth = first(
        (measured.min() == measured.max(), warn("depth", same, restart)),
        (share < _LOW_VALID, warn("depth", text, "move closer, raise the exposure, or switch the projector on")),
        (share < _GOOD_VALID, warn("depth", text, poor)),
        otherwise=ok("depth", text),
    )
    findings.append(of_depth)

    try:
        checked = check_detections(detections, camera.width, camera.height)
        scene = build_scene(frame, checked, config.depth, config.lift)
    except SpatialVlmError as error:
        return [*findings, found_in("detections", error)]
    return [*findings, *of_checks(scene.evidence.checks), *_support(scene, table_height), *_objects(scene)]


def examine_folder(folder: Path, config: ResolverConfig, table_height: float | None = None) -> list[Finding]:
    """Check a folder of a frame; see `examine`."""
    try:
        return examine(*load_frame(folder), config, table_height)
    except InputError as error:
        return [found_in(Path(error.path).name if isinstance(error, FileError) else error.what, error)]


def of_checks(checks: Sequence[Check]) -> Iterator[Finding]:
    """A finding for each check of a frame against itself."""
    for check in checks:
        leans = check.name == "up" and check.measured is not None and check.measured > _TILTED
        yield first(
            (check.verdict is Verdict.CONTRADICTS, fail(check.name, check.found, check.fix)),
            (leans, warn(check.name, check.found, "check the camera's mounting transform (hand-eye calibration)")),
            (check.fix, warn(check.name, check.found, check.fix)),
            otherwise=ok(check.name, check.found),
        )


def _support(scene: Scene, told_height: float | None) -> Iterator[Finding]:
    check = "support plane"
    if scene.support is None:
        place = "around the detections" if scene.objects else "in the image"
        repair = "set base_T_camera or use an IMU: without a plane, heights are measured from the camera"
        yield warn(check, f"none visible {place}", repair)
        return
    down = float(np.degrees(np.arcsin(np.clip(-scene.up[2], -1, 1))))
    looks = f"camera looks {abs(down):.0f}° {'down' if down >= 0 else 'up'}"
    text = f"roughness {scene.support.rms * 1000:.1f} mm rms, {looks}, up from {scene.up_from.value}"
    alike = "a table from above and a wall look alike: set base_T_camera or use an IMU"
    noisy = "depth is noisy or misregistered: check its unit and alignment"
    steep = "in such a steep view, 'behind' and 'in front' are undefined: use the frame 'robot'"
    yield first(
        (scene.up_from is UpSource.SUPPORT_PLANE and down > _FACING, warn(check, text, alike)),
        (scene.support.rms > _ROUGH_PLANE, warn(check, text, noisy)),
        (down > _STEEP, warn(check, text, steep)),
        otherwise=ok(check, text),
    )
    if scene.frame.base_T_camera is None:
        return

    ahead = -scene.support.offset / scene.support.normal[2] if abs(scene.support.normal[2]) > 1e-3 else -1.0
    seen = np.array([0.0, 0.0, ahead]) if ahead > 0 else -scene.support.offset * scene.support.normal
    height = float(scene.frame.base_T_camera.apply(seen)[2])
    text = f"the support is at z = {height:.3f} m in {scene.frame.base_T_camera.parent}"
    if told_height is not None and abs(height - told_height) > _OFF_HEIGHT:
        repair = "check the camera's mounting transform, the depth unit, and which surface is in view"
        yield fail("support height", f"{text}, expected {told_height:.3f} m", repair)
    else:
        yield ok("support height", text)


def _objects(scene: Scene) -> Iterator[Finding]:
    for obj in scene.objects:
        name = f"{obj.detection.label} ({obj.id})"
        if obj.depth_problem is not None:
            yield warn(name, obj.depth_problem, "view it from another side, or change the light")
            continue
        x, y, z = obj.box.size
        text = f"{x * 100:.1f} × {y * 100:.1f} × {z * 100:.1f} cm at {obj.surface_centre[2]:.2f} m"
        text += f", {obj.visible_fraction:.0%} visible"
        if obj.valid_fraction < _LOW_VALID + 0.2:
            text += f", {obj.valid_fraction:.0%} of it measured"
        if obj.occluder and obj.visible_fraction < 0.9:
            text += f", hidden by {obj.occluder}"
        cut = f"{text}, cut by the border of the image"
        yield warn(name, cut) if obj.truncated else ok(name, text)
