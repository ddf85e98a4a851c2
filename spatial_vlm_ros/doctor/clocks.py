# SPDX-License-Identifier: Apache-2.0
"""Finds problems of the clocks of streams and transforms, and measures them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from spatial_vlm_ros.doctor.findings import Finding, fail, first, ok
from spatial_vlm_ros.errors import ClockError, InputError, TransformUnavailableError
from spatial_vlm_ros.streams.clocks import ClockEstimate
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, FrameAssembler

_ROUNDING = 0.001  # s: stamps and arrivals of one clock may differ by this in either direction
_CHECK = "clock"


def clock_findings(assembler: FrameAssembler, topics: Mapping[str, str]) -> Iterator[Finding]:
    """Findings of the last seconds about the clocks of colour, depth and the camera's transforms.

    An error means that requests are refused or may wait in vain; else it is a measurement.

    Yields:
        One finding for each image stream that sent messages, then one for each transform between base and camera that
        runs ahead.
    """
    estimates = assembler.freshness.estimates()
    for role in (RGB, DEPTH):
        if role in estimates:
            yield _of_images(assembler, topics.get(role, role), role, estimates[role])
    config = assembler.config
    if config.base_frame and assembler.camera_frame:
        try:
            assembler.transforms.check_clocks(config.base_frame, assembler.camera_frame, config.transform_max_ahead)
        except ClockError as error:
            yield fail(_CHECK, error.reason, error.repair)
        except (InputError, TransformUnavailableError):
            pass  # no transform: reported elsewhere


def _of_images(assembler: FrameAssembler, topic: str, role: str, estimate: ClockEstimate) -> Finding:
    config, ahead, lag = assembler.config, estimate.ahead, estimate.lag
    limits = ((ahead, "max_ahead", config.max_ahead), (lag, "max_behind", config.max_behind))
    for amount, name, limit in limits:
        if amount > limit:
            error = ClockError(topic, ahead, name, limit)
            return fail(_CHECK, error.reason, error.repair)
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
    offset, apart = estimate.offset(most)
    varies = f"its clock is ahead by {offset:.3f} ± {apart:.3f} s, its latency varies by {estimate.spread:.3f} s"
    return first(
        (in_step and not assembler.freshness.is_in_step(role), fail(_CHECK, waits, chrony)),
        (ahead > _ROUNDING, fail(_CHECK, early, hosts)),
        (in_step and latest > most, fail(_CHECK, late, slow.format(latest))),
        (max(lag, estimate.spread) > most, fail(_CHECK, behind, unsure.format(max(lag, 0.0) + estimate.spread))),
        otherwise=ok(_CHECK, f"{arrives}, with synchronised clocks" if in_step else f"{arrives}: {varies}"),
    )
