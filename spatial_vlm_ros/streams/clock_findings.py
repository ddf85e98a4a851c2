# SPDX-License-Identifier: Apache-2.0
"""Clock problems and measurements of streams and transforms, for both the node's health and the doctor."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from spatial_vlm_ros.errors import ClockError, InputError, TransformUnavailableError
from spatial_vlm_ros.streams.clocks import ClockEstimate
from spatial_vlm_ros.streams.frame_assembler import DEPTH, RGB, FrameAssembler

_ROUNDING = 0.001  # s: stamps and arrivals of one clock may differ by this in either direction


@dataclass(frozen=True)
class ClockFinding:
    """One finding about a clock.

    Args:
        is_error: True if requests are refused or may wait in vain because of it; else it is a measurement.
        repair: what to do about it; empty if nothing is wrong.
    """

    where: str
    is_error: bool
    found: str
    repair: str = ""


def clock_findings(assembler: FrameAssembler, topics: Mapping[str, str]) -> list[ClockFinding]:
    """Findings of the last seconds about the clocks of colour, depth and the camera's transforms.

    Returns:
        One finding or more for each image stream that sent messages, then one for each transform between base and
        camera that runs ahead.
    """
    estimates = assembler.freshness.estimates()
    found = [
        finding
        for role in (RGB, DEPTH)
        if role in estimates
        for finding in _of_images(assembler, topics.get(role, role), role, estimates[role])
    ]
    config = assembler.config
    if config.base_frame and assembler.camera_frame:
        try:
            assembler.transforms.check_clocks(config.base_frame, assembler.camera_frame, config.transform_max_ahead)
        except ClockError as error:
            found.append(ClockFinding(error.stream, True, error.reason, error.repair))
        except (InputError, TransformUnavailableError):
            pass  # no transform: reported elsewhere
    return found


def _of_images(assembler: FrameAssembler, topic: str, role: str, estimate: ClockEstimate) -> Iterator[ClockFinding]:
    config = assembler.config
    for amount, name, limit in (
        (estimate.ahead, "max_ahead", config.max_ahead),
        (estimate.lag, "max_behind", config.max_behind),
    ):
        if amount > limit:
            error = ClockError(topic, estimate.ahead, name, limit)
            yield ClockFinding(topic, True, error.reason, error.repair)
            return
    if config.clocks_in_step and not assembler.freshness.is_in_step(role):
        found = (
            f"{topic} is stamped {estimate.ahead:.3f} s ahead of its arrival: the clocks are not synchronised, "
            "although clocks_in_step is set, so images wait for max_latency"
        )
        yield ClockFinding(topic, True, found, "synchronise the clocks (chrony, PTP), or set clocks_in_step: false")
        return
    if estimate.ahead > _ROUNDING:
        found = f"{topic} is stamped {estimate.ahead:.3f} s ahead of its arrival: the clocks are not synchronised"
        yield ClockFinding(
            topic, True, found, "synchronise the clocks of the camera host and this machine (chrony, PTP)"
        )
    elif estimate.lag + estimate.spread > config.max_latency and config.clocks_in_step:
        found = f"{topic} arrives up to {estimate.lag + estimate.spread:.3f} s after its stamp"
        yield ClockFinding(topic, True, f"{found}, but max_latency is {config.max_latency:g} s", _link(estimate, True))
    elif estimate.lag > config.max_latency or estimate.spread > config.max_latency:
        found = (
            f"{topic} arrives {estimate.lag:.3f} to {estimate.lag + estimate.spread:.3f} s after its stamp, but "
            f"max_latency is {config.max_latency:g} s: its clock is behind, or its latency is longer"
        )
        yield ClockFinding(topic, True, found, _link(estimate, False))
    else:
        yield ClockFinding(topic, False, measured(topic, estimate, config.max_latency, config.clocks_in_step))


def measured(topic: str, estimate: ClockEstimate, max_latency: float, in_step: bool) -> str:
    """The measurement of a stream in one sentence: its latency if clocks are in step, else offset and variation."""
    latest = estimate.lag + estimate.spread
    if in_step:
        return f"{topic} arrives {estimate.lag:.3f} to {latest:.3f} s after its stamp, with synchronised clocks"
    offset, error = estimate.offset(max_latency)
    return (
        f"{topic} arrives {estimate.lag:.3f} to {latest:.3f} s after its stamp: its clock is ahead by {offset:.3f} "
        f"± {error:.3f} s, its latency varies by {estimate.spread:.3f} s"
    )


def _link(estimate: ClockEstimate, in_step: bool) -> str:
    """The repair for late messages; the latency is known only if the clocks are in step."""
    value = estimate.lag + estimate.spread if in_step else max(estimate.lag, 0.0) + estimate.spread
    sure = "" if in_step else "synchronise the clocks (chrony, PTP); if they are synchronised, "
    return f"{sure}check for a slow link or a busy machine, or set max_latency to {value:.2f} or more"
