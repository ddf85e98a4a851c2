# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a camera's streams, live or in a bag, with fixes."""

from __future__ import annotations

import contextlib
import importlib.util
import itertools
import math
import re
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from spatial_vlm_ros.doctor.findings import Finding, fail, first, found_in, has_errors, ok, warn
from spatial_vlm_ros.errors import (
    ClockError,
    FileError,
    InputError,
    SpatialVlmError,
    TransformUnavailableError,
    UnfamiliarImageError,
    without_repair,
)
from spatial_vlm_ros.geometry.depth import check_depth
from spatial_vlm_ros.geometry.frame_evidence import depth_over_time
from spatial_vlm_ros.geometry.lift import build_scene
from spatial_vlm_ros.parameters import ResolverConfig, Settings
from spatial_vlm_ros.perception import model_store
from spatial_vlm_ros.perception.grounding_checks import check_detections
from spatial_vlm_ros.perception.model_store import known_models
from spatial_vlm_ros.perception.probing import image
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.streams import frame_assembler as roles
from spatial_vlm_ros.streams.image import camera_of
from spatial_vlm_ros.streams.synchronizer import Stream
from spatial_vlm_ros.types import Check, Detection, NounPhrase, RgbdFrame, Scene, UpSource, Verdict

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


# ------------------------------------------------------------------------------------------------ grounder


_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))  # a GPU's driver, a Jetson's
_ASKED = (NounPhrase("rectangle", ("red",)), NounPhrase("cup"))


def examine_grounder(
    name: str, options: Mapping[str, str], start_timeout_s: float = 120.0, timeout_s: float = 30.0
) -> list[Finding]:
    """Check files of listed models, the GPU, loading and one request; the first error ends it.

    Args:
        start_timeout_s: loading may take this long, seconds.
        timeout_s: the request may take this long, seconds.
    """
    findings = []
    words = {word for value in options.values() for word in re.split(r"[\s=]+", value)}  # those of nested options too
    for entry in known_models().values():
        if not words & {entry.name, entry.repository} or not any(model_store.folder_of(entry).rglob("*")):
            continue  # one that is not here at all may be in the hub's cache; loading tells
        check, faults = f"files of {entry.name}", model_store.faults(entry)
        told = "; ".join(f"{path} {fault}" for path, fault in faults.items())
        well = ok(check, f"size and SHA-256 of {len(entry.files)} files match the manifest")
        findings.append(fail(check, told, model_store.by_hand(entry)) if faults else well)

    if any(path.exists() for path in _DRIVERS) and importlib.util.find_spec("torch") is not None:
        from spatial_vlm_ros.perception.backends.onboard import no_cuda

        missing = no_cuda()
        if missing is not None:
            findings.append(warn("gpu", f"torch does not use this computer's GPU: {missing[0]}", missing[1]))
    if has_errors(findings):
        return findings

    stage = "load"
    try:
        with WorkerGrounder(name, options, timeout_s, start_timeout_s) as grounder:
            started = time.monotonic()
            findings.append(ok(stage, f"{name} is loaded"))
            stage = "request"
            found = grounder.ground(image((640, 480), (0.5, 0.5), "red", "rectangle").rgb, _ASKED)
            took = time.monotonic() - started
            findings.append(ok(stage, f"it answers in {took:.2f} s: {len(found.detections)} objects"))
    except UnfamiliarImageError as error:
        findings.append(ok(stage, f"it answers, but refuses the drawn image: {error.args[0]}"))
    except SpatialVlmError as error:
        findings.append(fail(stage, without_repair(error), str(getattr(error, "repair", ""))))
    return findings


STREAMS = (roles.RGB, roles.DEPTH, roles.RGB_INFO, roles.DEPTH_INFO, roles.DETECTIONS, roles.IMU)
_LOST = 0.02  # part of a stream's messages
_REPEATED = 0.5  # part of a stream's messages whose stamp had come before: the driver hangs
_FROZEN, _CHANGES = 5, 3  # messages with one image in a row, while the other stream had so many different ones
_SLOW = 5.0  # Hz
_FASTEST = 1000.0  # Hz: no camera is faster, so times that are closer together tell no rate
_ENOUGH = 1.0  # s in which a second message would have come
_ROUNDING = 0.001  # s: stamps and arrivals of one clock may differ by this in either direction
NO_MESSAGE = "no message"


class StreamDoctor:
    """Collects messages for a while, and reports findings."""

    def __init__(self, settings: Settings, topics: Mapping[str, str], robot: roles.SeenRobot | None = None) -> None:
        self._settings, self._topics = settings, dict(topics)
        self._assembler = roles.FrameAssembler(settings.streams, with_detections=False, robot=robot)
        self._arrivals: dict[str, list[int]] = {role: [] for role in topics}
        self._stamps: dict[str, list[int]] = {role: [] for role in topics}
        # Arrival and checksum of each.
        self._images: dict[str, list[tuple[int, int]]] = {roles.RGB: [], roles.DEPTH: []}
        self._skews: list[float] = []
        self._waiting: list[tuple[int, str, int]] = []
        self._waits: list[float] = []
        self._missing: TransformUnavailableError | None = None
        self._missed_transforms = 0
        self._first: roles.PendingFrame | None = None
        self._last: roles.PendingFrame | None = None
        self._frame_ids: dict[str, str] = {}
        self._detections = Stream(2)

    def add(self, role: str, message: Any, now_ns: int) -> None:
        """Add a message of a role of streams.frame_assembler."""
        if role in self._arrivals:
            self._arrivals[role].append(now_ns)
            self._stamps[role].append(roles.stamp_of(message))
            self._frame_ids[role] = message.header.frame_id
            if role in self._images:
                self._images[role].append((now_ns, zlib.crc32(message.data)))
        if role == roles.DETECTIONS:
            self._detections.add(roles.stamp_of(message), message)
            return
        self._assembler.add(role, message, now_ns)
        self._look_up(role, message, now_ns)
        try:
            observation = self._assembler.take(0, now_ns)
        except SpatialVlmError:
            return  # said below, with its count
        if observation is not None:
            self._first, self._last = self._first or observation, observation
            stamps = observation.match.stamps
            self._skews.append(abs(stamps[roles.RGB] - stamps[roles.DEPTH]) / roles.SECOND)

    def _look_up(self, role: str, message: Any, now_ns: int) -> None:
        """Measure how long each colour image waits for its transform, and for those of the robot's links."""
        base = self._settings.streams.base_frame
        links = self._assembler.robot.links if self._assembler.robot is not None else ()
        if not base:
            return
        if role == roles.RGB:
            self._waiting.append((roles.stamp_of(message), message.header.frame_id, now_ns))
        if role not in (roles.RGB, roles.TRANSFORMS, roles.STATIC_TRANSFORMS):
            return
        still = []
        for stamp_ns, frame_id, since_ns in self._waiting:
            try:
                for child in (frame_id, *links):
                    self._assembler.transforms.lookup(base, child, stamp_ns)
            except TransformUnavailableError as error:
                self._missing = error
                if now_ns - since_ns < self._settings.streams.transform_timeout * roles.SECOND and error.may_come:
                    still.append((stamp_ns, frame_id, since_ns))
                else:
                    self._missed_transforms += 1
            except SpatialVlmError:
                self._missed_transforms += 1
            else:
                self._waits.append((now_ns - since_ns) / roles.SECOND)
        self._waiting = still

    def heard(self, role: str) -> bool:
        """Whether a message of a role came."""
        return bool(self._arrivals.get(role))

    # -------------------------------------------------------------------------------------------- findings

    def findings(self, seconds: float, table_height: float | None = None) -> list[Finding]:
        """All findings, in the order in which to fix them.

        Args:
            table_height: stated height of the support in the base frame, metres; None = not stated.
        """
        findings = [
            *(self._stream(role, seconds) for role in self._topics),
            *self._clocks(),
        ]
        for _, message, _ in list(self._assembler.streams[roles.RGB_INFO])[-1:]:
            try:
                camera_of(message, self._settings.streams.rectified)
            except SpatialVlmError as error:
                findings.append(fail(self._topics[roles.RGB_INFO], str(error), getattr(error, "repair", "")))
        findings += [*self._pairs(), *self._transforms()]
        if self._first is None or self._last is None:
            return findings

        try:
            frame, _ = self._last.decode()
        except SpatialVlmError as error:
            return [*findings, fail("frame", str(error), getattr(error, "repair", ""))]
        findings += examine(frame, (), self._settings.resolver, table_height)
        with contextlib.suppress(SpatialVlmError):  # a driver may begin with a broken image
            if self._first is not self._last:
                findings += of_checks((depth_over_time(self._first.decode()[0], frame),))
        return findings

    def _stream(self, role: str, seconds: float) -> Finding:
        topic = self._topics[role]
        if not self.heard(role):
            missing = warn if role == roles.DETECTIONS else fail
            return missing(topic, NO_MESSAGE, "start the driver, or remap the topic to it")
        text, rate = self._rate(role, seconds)
        stream = self._detections if role == roles.DETECTIONS else self._assembler.streams.get(role)
        if stream is None:
            return ok(topic, text)
        same = f"{text}; the stamp does not change in {stream.repeated} of {stream.received} messages"
        hangs = stream.repeated > _REPEATED * stream.received
        lost = stream.missed / max(stream.received + stream.missed, 1)
        profile = (
            "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_images.xml in every process, including the driver"
        )
        frozen = False  # whether one image comes again and again while the other stream changes; a still world may rest
        other = self._images[roles.DEPTH if role == roles.RGB else roles.RGB]
        for _, images in itertools.groupby(self._images.get(role, ()), key=lambda image: image[1]):
            times = [time for time, _ in images]
            changes = {checksum for time, checksum in other if times[0] <= time <= times[-1]}
            frozen |= len(times) >= _FROZEN and len(changes) >= _CHANGES
        restart = "restart the driver: it repeats one image under new stamps"
        slow = "raise the driver's frame rate, because each request waits for a frame"
        return first(
            (stream.newest_ns == 0, fail(topic, f"{text}, not stamped", "the driver must set header.stamp")),
            (hangs, fail(topic, same, "restart the driver: it repeats the same image")),
            (frozen, fail(topic, f"{text}; its image freezes while the other stream changes", restart)),
            (lost > _LOST, warn(topic, f"{text}; {lost:.0%} of the messages are lost", profile)),
            (rate < _SLOW and role in (roles.RGB, roles.DEPTH), warn(topic, text, slow)),
            otherwise=ok(topic, text),
        )

    def _rate(self, role: str, seconds: float) -> tuple[str, float]:
        """Messages a second by the median interval: in words, and as a number, which is NaN if it is not known."""
        arrivals, stamps = self._arrivals[role], self._stamps[role]
        count = len(arrivals)
        if count == 1:
            known = seconds >= _ENOUGH
            return f"1 message in {seconds:.1f} s" if known else "1 message", 1 / seconds if known else math.nan
        for times in (arrivals, stamps):  # a bag may have been written in one go
            interval = float(np.median(np.diff(np.sort(times)))) / roles.SECOND
            if interval * _FASTEST >= 1:
                return f"{1 / interval:.1f} Hz", 1 / interval
        within = (max(stamps) - min(stamps)) / roles.SECOND
        told = f"stamps within {within:.3g} s" if within else "the same stamp"
        return f"{count} messages with {told}, so the rate is not known", math.nan

    def _clocks(self) -> Iterator[Finding]:
        """For each image stream that sent messages its clock in the last seconds; then a transform that runs ahead."""
        assembler, config = self._assembler, self._assembler.config
        estimates = assembler.freshness.estimates()
        for role in (roles.RGB, roles.DEPTH):
            if role not in estimates:
                continue
            topic, estimate = self._topics.get(role, role), estimates[role]
            ahead, lag, (offset, apart) = estimate.ahead, estimate.lag, estimate.offset(config.max_latency)
            limits = ((ahead, "max_ahead", config.max_ahead), (lag, "max_behind", config.max_behind))
            over = [ClockError(topic, ahead, name, limit) for amount, name, limit in limits if amount > limit]
            if over:
                yield fail("clock", over[0].reason, over[0].repair)
                continue
            latest, in_step, most = lag + estimate.spread, config.clocks_in_step, config.max_latency
            early = f"{topic} is stamped {ahead:.3f} s ahead of its arrival: the clocks are not synchronised"
            waits = f"{early}, although clocks_in_step is set, so images wait for max_latency"
            late = f"{topic} arrives up to {latest:.3f} s after its stamp, but max_latency is {most:g} s"
            arrives = f"{topic} arrives {lag:.3f} to {latest:.3f} s after its stamp"
            behind = f"{arrives}, but max_latency is {most:g} s: its clock is behind, or its latency is longer"
            slow = "check for a slow link or a busy machine, or set max_latency to {:.2f} or more"
            unsure = f"synchronise the clocks (chrony, PTP); if they are synchronised, {slow}"
            chrony = "synchronise the clocks (chrony, PTP), or set clocks_in_step: false"
            hosts = "synchronise the clocks of the camera host and this machine (chrony, PTP)"
            varies = f"its clock is ahead by {offset:.3f} ± {apart:.3f} s"
            varies += f", its latency varies by {estimate.spread:.3f} s"
            above = max(lag, 0.0) + estimate.spread
            yield first(
                (in_step and not assembler.freshness.is_in_step(role), fail("clock", waits, chrony)),
                (ahead > _ROUNDING, fail("clock", early, hosts)),
                (in_step and latest > most, fail("clock", late, slow.format(latest))),
                (max(lag, estimate.spread) > most, fail("clock", behind, unsure.format(above))),
                otherwise=ok("clock", f"{arrives}, with synchronised clocks" if in_step else f"{arrives}: {varies}"),
            )
        if config.base_frame and assembler.camera_frame:
            try:
                assembler.transforms.check_clocks(config.base_frame, assembler.camera_frame, config.transform_max_ahead)
            except ClockError as error:
                yield fail("clock", error.reason, error.repair)
            except (InputError, TransformUnavailableError):
                pass  # no transform: reported elsewhere

    def _pairs(self) -> Iterator[Finding]:
        """Whether colour and depth come together, and in which frames."""
        if not (self.heard(roles.RGB) and self.heard(roles.DEPTH)):
            return
        unmatched = self._assembler.unmatched
        if self._skews:
            skew = float(np.median(self._skews))
            text = f"colour and depth {skew * 1000:.1f} ms apart (median), {unmatched} colour images without depth"
            repair = "make the driver give both the same stamp, or set fixed_frame if the camera moves"
            moving = skew > 0.001 and not self._settings.streams.fixed_frame
            yield warn("synchronisation", text, repair) if moving else ok("synchronisation", text)
        elif unmatched or not self._settings.streams.base_frame:
            error = self._assembler.why_none(0, self._topics)
            yield fail("synchronisation", str(error), getattr(error, "repair", ""))
        rgb, depth = self._frame_ids[roles.RGB], self._frame_ids[roles.DEPTH]
        if self._settings.streams.depth_registered and rgb != depth:
            text = f"depth is in {depth!r}, colour in {rgb!r}: depth seems not to be registered"
            repair = "use the aligned depth topic (align_depth, depth_registration), or set depth_registered: false"
            yield warn("registration", text, repair)
        else:
            yield ok("registration", f"colour in {rgb!r}, depth in {depth!r}")

    def _transforms(self) -> Iterator[Finding]:
        base = self._settings.streams.base_frame
        if not base or roles.RGB not in self._frame_ids:
            return
        text = f"{base} <- {self._frame_ids[roles.RGB]}"
        rejected = self._assembler.transforms.rejected
        if rejected:
            wrong = warn if self._waits else fail
            yield wrong("tf", f"rejected: {dict(rejected)}", "fix the publisher of these transforms")
        if not self._waits and self._missing is not None:
            lost = self._missing
            yield fail("tf", f"transform {lost.parent} <- {lost.child}: {lost.reason}", lost.repair)
        elif self._missed_transforms:
            text += f": {self._missed_transforms} images have no transform at their stamp"
            yield warn("tf", text, "raise the rate of the transform's publisher or transform_timeout")
        elif self._waits:
            late = float(np.percentile(self._waits, 95))
            yield ok("tf", f"{text}, at most {late * 1000:.0f} ms after the image (95 %)")
