# SPDX-License-Identifier: Apache-2.0
"""Finds problems of a camera's streams, live or in a bag, with fixes."""

from __future__ import annotations

import contextlib
import itertools
import math
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from spatial_vlm_ros.doctor.findings import Finding, fail, first, ok, warn
from spatial_vlm_ros.doctor.frame import examine, of_checks
from spatial_vlm_ros.errors import ClockError, InputError, SpatialVlmError, TransformUnavailableError
from spatial_vlm_ros.geometry.frame_evidence import depth_over_time
from spatial_vlm_ros.parameters import Settings
from spatial_vlm_ros.streams.camera_info import camera_of
from spatial_vlm_ros.streams.frame_assembler import (
    DEPTH,
    DEPTH_INFO,
    DETECTIONS,
    IMU,
    RGB,
    RGB_INFO,
    SECOND,
    STATIC_TRANSFORMS,
    TRANSFORMS,
    FrameAssembler,
    PendingFrame,
    stamp_of,
)
from spatial_vlm_ros.streams.seen_robot import SeenRobot
from spatial_vlm_ros.streams.synchronizer import Stream

STREAMS = (RGB, DEPTH, RGB_INFO, DEPTH_INFO, DETECTIONS, IMU)
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

    def __init__(self, settings: Settings, topics: Mapping[str, str], robot: SeenRobot | None = None) -> None:
        self._settings, self._topics = settings, dict(topics)
        self._assembler = FrameAssembler(settings.streams, with_detections=False, robot=robot)
        self._arrivals: dict[str, list[int]] = {role: [] for role in topics}
        self._stamps: dict[str, list[int]] = {role: [] for role in topics}
        self._images: dict[str, list[tuple[int, int]]] = {RGB: [], DEPTH: []}  # arrival and checksum of each
        self._skews: list[float] = []
        self._waiting: list[tuple[int, str, int]] = []
        self._waits: list[float] = []
        self._missing: TransformUnavailableError | None = None
        self._missed_transforms = 0
        self._first: PendingFrame | None = None
        self._last: PendingFrame | None = None
        self._frame_ids: dict[str, str] = {}
        self._detections = Stream(2)

    def add(self, role: str, message: Any, now_ns: int) -> None:
        """Add a message of a role of streams.frame_assembler."""
        if role in self._arrivals:
            self._arrivals[role].append(now_ns)
            self._stamps[role].append(stamp_of(message))
            self._frame_ids[role] = message.header.frame_id
            if role in self._images:
                self._images[role].append((now_ns, zlib.crc32(message.data)))
        if role == DETECTIONS:
            self._detections.add(stamp_of(message), message)
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
            self._skews.append(abs(stamps[RGB] - stamps[DEPTH]) / SECOND)

    def _look_up(self, role: str, message: Any, now_ns: int) -> None:
        """Measure how long each colour image waits for its transform, and for those of the robot's links."""
        base = self._settings.streams.base_frame
        links = self._assembler.robot.links if self._assembler.robot is not None else ()
        if not base:
            return
        if role == RGB:
            self._waiting.append((stamp_of(message), message.header.frame_id, now_ns))
        if role not in (RGB, TRANSFORMS, STATIC_TRANSFORMS):
            return
        still = []
        for stamp_ns, frame_id, since_ns in self._waiting:
            try:
                for child in (frame_id, *links):
                    self._assembler.transforms.lookup(base, child, stamp_ns)
            except TransformUnavailableError as error:
                self._missing = error
                if now_ns - since_ns < self._settings.streams.transform_timeout * SECOND and error.may_come:
                    still.append((stamp_ns, frame_id, since_ns))
                else:
                    self._missed_transforms += 1
            except SpatialVlmError:
                self._missed_transforms += 1
            else:
                self._waits.append((now_ns - since_ns) / SECOND)
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
        for _, message in list(self._assembler.streams[RGB_INFO])[-1:]:
            try:
                camera_of(message, self._settings.streams.rectified)
            except SpatialVlmError as error:
                findings.append(fail(self._topics[RGB_INFO], str(error), getattr(error, "repair", "")))
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
            missing = warn if role == DETECTIONS else fail
            return missing(topic, NO_MESSAGE, "start the driver, or remap the topic to it")
        text, rate = self._rate(role, seconds)
        stream = self._detections if role == DETECTIONS else self._assembler.streams.get(role)
        if stream is None:
            return ok(topic, text)
        same = f"{text}; the stamp does not change in {stream.repeated} of {stream.received} messages"
        hangs = stream.repeated > _REPEATED * stream.received
        lost = stream.missed / max(stream.received + stream.missed, 1)
        profile = (
            "set FASTDDS_DEFAULT_PROFILES_FILE to config/fastdds_images.xml in every process, including the driver"
        )
        frozen = False  # whether one image comes again and again while the other stream changes; a still world may rest
        other = self._images[DEPTH if role == RGB else RGB]
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
            (rate < _SLOW and role in (RGB, DEPTH), warn(topic, text, slow)),
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
            interval = float(np.median(np.diff(np.sort(times)))) / SECOND
            if interval * _FASTEST >= 1:
                return f"{1 / interval:.1f} Hz", 1 / interval
        within = (max(stamps) - min(stamps)) / SECOND
        told = f"stamps within {within:.3g} s" if within else "the same stamp"
        return f"{count} messages with {told}, so the rate is not known", math.nan

    def _clocks(self) -> Iterator[Finding]:
        """For each image stream that sent messages its clock in the last seconds; then a transform that runs ahead."""
        assembler, config = self._assembler, self._assembler.config
        estimates = assembler.freshness.estimates()
        for role in (RGB, DEPTH):
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
        if not (self.heard(RGB) and self.heard(DEPTH)):
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
        rgb, depth = self._frame_ids[RGB], self._frame_ids[DEPTH]
        if self._settings.streams.depth_registered and rgb != depth:
            text = f"depth is in {depth!r}, colour in {rgb!r}: depth seems not to be registered"
            repair = "use the aligned depth topic (align_depth, depth_registration), or set depth_registered: false"
            yield warn("registration", text, repair)
        else:
            yield ok("registration", f"colour in {rgb!r}, depth in {depth!r}")

    def _transforms(self) -> Iterator[Finding]:
        base = self._settings.streams.base_frame
        if not base or RGB not in self._frame_ids:
            return
        text = f"{base} <- {self._frame_ids[RGB]}"
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
