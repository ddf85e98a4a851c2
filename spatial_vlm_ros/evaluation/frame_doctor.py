# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a frame, with fixes, in the order in which to fix them."""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.geometry.depth import check_depth
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.geometry.support import find_support
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.types import Detection, RgbdFrame, Scene, UpSource


class Severity(str, enum.Enum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """Result of one check: what was found, and what to do about it ("" = nothing)."""

    check: str
    level: Severity
    found: str
    repair: str = ""


_LOW_VALID, _GOOD_VALID = 0.3, 0.6
_ROUGH_PLANE = 0.006  # metres rms; a table seen by a healthy sensor at 1 m stays below
_FACING = 65.0
_STEEP = 75.0
_TILTED = 3.0  # degrees, as observation.support_tilt_deg
_OFF_HEIGHT = 0.015  # metres between the support and its stated height
_FAR_OFF = 20.0  # metres: the camera of an arm or mobile robot is never this far from its base


def examine(
    frame: RgbdFrame,
    detections: Sequence[Detection] = (),
    config: ResolverConfig | None = None,
    table_height: float | None = None,
) -> list[Finding]:
    """Check a frame and its detections.

    Args:
        frame: colour, depth, camera, optional transform.
        detections: its detections.
        config: configuration of the resolver.
        table_height: stated height of the support, metres along z of base_T_camera's parent; None = not stated.

    Returns:
        Findings in the order in which to fix them; later checks are skipped if an earlier one failed.
    """
    config = config or ResolverConfig()
    findings = [*_camera(frame), *_depth(frame, config)]
    if any(finding.level is Severity.ERROR for finding in findings):
        return findings
    try:
        checked = check_detections(detections, frame.camera.width, frame.camera.height)
        scene = build_scene(frame, checked, config.depth, config.lift)
    except SpatialVlmError as error:
        return [*findings, found_in("detections", error)]
    return [*findings, *_support(scene, config), *_height(scene, table_height), *_objects(scene)]


def found_in(check: str, error: SpatialVlmError) -> Finding:
    """Turn an error into a finding; the sentence that says what to do is its repair."""
    message, repair = str(error), str(getattr(error, "repair", "")).strip()
    last = f" {repair.rstrip('.')}."
    if repair and message.lower().endswith(last.lower()):
        message = message[: -len(last)]
    return Finding(check, Severity.ERROR, message, repair)


def _camera(frame: RgbdFrame) -> Iterator[Finding]:
    camera = frame.camera
    fov = float(np.degrees(2 * np.arctan(camera.width / 2 / camera.K[0, 0])))
    text = f"{camera.width}x{camera.height}, fx {camera.K[0, 0]:.1f}, horizontal field of view {fov:.0f}°"
    centred = 0.25 < camera.K[0, 2] / camera.width < 0.75 and 0.25 < camera.K[1, 2] / camera.height < 0.75
    if frame.base_T_camera is not None and np.linalg.norm(frame.base_T_camera.translation) > _FAR_OFF:
        place = ", ".join(f"{t:.0f}" for t in frame.base_T_camera.translation)
        text_t = f"the camera is at ({place}) m in {frame.base_T_camera.parent}"
        check = "base_T_camera"
        yield Finding(check, Severity.WARNING, text_t, "use metres: these look like millimetres, or a map frame")
    if 20 <= fov <= 130 and centred:
        yield Finding("camera", Severity.OK, text)
    else:
        repair = "check that K belongs to this resolution, and scale it with the image"
        found = text + ("" if centred else ", principal point far off centre")
        yield Finding("camera", Severity.WARNING, found, repair)
    if not frame.frame_id.endswith(("optical", "optical_frame")):
        repair = "use the optical frame of the camera (z forward, x right, y down), usually named *_optical_frame"
        yield Finding("frame id", Severity.WARNING, f"{frame.frame_id!r} does not look like an optical frame", repair)


def _depth(frame: RgbdFrame, config: ResolverConfig) -> Iterator[Finding]:
    try:
        check_depth(frame.depth, config.depth)
    except SpatialVlmError as error:
        yield found_in("depth", error)
        return
    valid = np.isfinite(frame.depth) & (frame.depth > 0)
    share, median = float(valid.mean()), float(np.median(frame.depth[valid]))
    text = f"{share:.0%} of the pixels measured, median {median:.2f} m"
    if frame.depth[valid].min() == frame.depth[valid].max():
        repair = "restart the depth stream: real depth varies"
        yield Finding("depth", Severity.WARNING, text + ", all equal", repair)
    elif share < _LOW_VALID:
        yield Finding("depth", Severity.WARNING, text, "move closer, raise the exposure, or switch the projector on")
    elif share < _GOOD_VALID:
        yield Finding(
            "depth", Severity.WARNING, text, "expect objects without depth; black, shiny or far surfaces measure badly"
        )
    else:
        yield Finding("depth", Severity.OK, text)


def _support(scene: Scene, config: ResolverConfig) -> Iterator[Finding]:
    if scene.support is None and scene.up_from in (UpSource.TF, UpSource.IMU):
        tilted = find_support(scene.frame, tuple(o.detection for o in scene.objects), config.depth, None)
        if tilted is not None:
            tilt = float(np.degrees(np.arccos(np.clip(tilted.normal @ scene.up, -1, 1))))
            text = f"a plane is visible, but tilted by {tilt:.0f}° from up, given by {scene.up_from.value}"
            check = "support plane"
            yield Finding(check, Severity.WARNING, text, "check the camera's mounting transform and its view")
            return
    if scene.support is None:
        place = "around the detections" if scene.objects else "in the image"
        yield Finding(
            "support plane", Severity.WARNING, f"none visible {place}",
            "set base_T_camera or use an IMU: without a plane, heights are measured from the camera",
        )  # fmt: skip
        return
    down = float(np.degrees(np.arcsin(np.clip(-scene.up[2], -1, 1))))
    looks = f"camera looks {abs(down):.0f}° {'down' if down >= 0 else 'up'}"
    text = f"roughness {scene.support.rms * 1000:.1f} mm rms, {looks}, up from {scene.up_from.value}"
    if scene.up_from is UpSource.SUPPORT_PLANE and down > _FACING:
        repair = "a table from above and a wall look alike: set base_T_camera or use an IMU"
        yield Finding("support plane", Severity.WARNING, text, repair)
    elif scene.support.rms > _ROUGH_PLANE:
        yield Finding(
            "support plane", Severity.WARNING, text, "depth is noisy or misregistered: check its unit and alignment"
        )
    elif down > _STEEP:
        yield Finding(
            "support plane",
            Severity.WARNING,
            text,
            "in such a steep view, 'behind' and 'in front' are undefined: use the frame 'robot'",
        )
    else:
        yield Finding("support plane", Severity.OK, text)
    if scene.up_from in (UpSource.TF, UpSource.IMU):
        tilt = float(np.degrees(np.arccos(np.clip(scene.support.normal @ scene.up, -1, 1))))
        told = f"the visible plane is tilted by {tilt:.1f}° against up from {scene.up_from.value}"
        if tilt > _TILTED:
            yield Finding("up", Severity.WARNING, told, "check the camera's mounting transform (hand-eye calibration)")
        else:
            yield Finding("up", Severity.OK, told)


def _height(scene: Scene, told: float | None) -> Iterator[Finding]:
    """Where the support lies in the base frame, against where it should."""
    if scene.support is None or scene.frame.base_T_camera is None:
        return
    ahead = -scene.support.offset / scene.support.normal[2] if abs(scene.support.normal[2]) > 1e-3 else -1.0
    seen = np.array([0.0, 0.0, ahead]) if ahead > 0 else -scene.support.offset * scene.support.normal
    height = float(scene.frame.base_T_camera.apply(seen)[2])
    text = f"the support is at z = {height:.3f} m in {scene.frame.base_T_camera.parent}"
    if told is not None and abs(height - told) > _OFF_HEIGHT:
        repair = "check the camera's mounting transform, the depth unit, and which surface is in view"
        yield Finding("support height", Severity.ERROR, f"{text}, expected {told:.3f} m", repair)
    else:
        yield Finding("support height", Severity.OK, text)


def _objects(scene: Scene) -> Iterator[Finding]:
    for obj in scene.objects:
        name = f"{obj.detection.label} ({obj.id})"
        if obj.depth_problem is not None:
            repair = "view it from another side, or change the light"
            yield Finding(name, Severity.WARNING, obj.depth_problem, repair)
            continue
        x, y, z = obj.box.size
        text = f"{x * 100:.1f} × {y * 100:.1f} × {z * 100:.1f} cm at {obj.surface_centre[2]:.2f} m"
        text += f", {obj.visible_fraction:.0%} visible"
        if obj.valid_fraction < _LOW_VALID + 0.2:
            text += f", {obj.valid_fraction:.0%} of it measured"
        notes = [f"hidden by {obj.occluder}"] if obj.occluder and obj.visible_fraction < 0.9 else []
        if obj.truncated:
            notes.append("cut by the border of the image")
        yield Finding(name, Severity.WARNING if obj.truncated else Severity.OK, ", ".join((text, *notes)))
