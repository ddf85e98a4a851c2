# SPDX-License-Identifier: Apache-2.0
"""The view from above: to scale, the camera's forward up, the region where the relation holds."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
import pytest

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.output import drawing
from spatial_vlm_ros.output.annotated_image import content_from
from spatial_vlm_ros.output.answer_content import AnswerContent
from spatial_vlm_ros.output.top_view import _STEPS, draw_top_view
from spatial_vlm_ros.parameters import ResolverConfig
from spatial_vlm_ros.sim.examples import CAMERA
from spatial_vlm_ros.sim.shapes import Box
from spatial_vlm_ros.sim.tabletop import Body, World, look_at, render

BODIES = (
    Body("red", "red box", Box((0.06, 0.06, 0.06)), (0.0, -0.12, 0.0), "red"),
    Body("blue", "blue box", Box((0.06, 0.06, 0.06)), (0.0, 0.12, 0.0), "blue"),
    Body("green", "green box", Box((0.06, 0.06, 0.06)), (0.2, 0.12, 0.0), "green"),
)


SEEN = render(World(bodies=BODIES), CAMERA, look_at((-0.7, 0.0, 0.5), (0.05, 0.0, 0.03)))
OBSERVED = Resolver().look_at(SEEN.frame, SEEN.detections)


@functools.cache
def content(instruction: str) -> AnswerContent:
    answered, seen = OBSERVED.ask(instruction), SEEN
    made = content_from(seen.frame, seen.detections, answered.resolution, ResolverConfig(), answered.scene)
    assert made is not None
    return made


def middle_of(image: np.ndarray, colour: tuple[int, int, int], share: float) -> np.ndarray:
    """Middle of the pixels that a colour was mixed into by a share."""
    mixed = 252 + share * (np.array(colour) - 252)
    rows, columns = np.nonzero((np.abs(image.astype(float) - mixed) < 3).all(axis=2))
    assert len(rows) > 50
    return np.array([columns.mean(), rows.mean()])


@pytest.mark.parametrize(("width", "height"), [(400, 480), (640, 360), (320, 720)])
def test_distances_and_directions_are_to_scale(width: int, height: int) -> None:
    made = dataclasses.replace(content("the green box behind the blue box"), region=None, deciding=None)
    image = draw_top_view(made, width, height, 13)
    assert image.shape == (height, width, 3)
    green, blue = middle_of(image, drawing.GREEN, 0.85), middle_of(image, drawing.BLUE, 0.4)
    span = made.high - made.low
    scale = min((height - 4.6 * 13) / span[0], width / span[1])
    centre = {o.label: o.corners.mean(axis=0) for o in made.outlines}
    apart = centre["green box green"] - centre["blue box blue"]
    # Labels and the arrow cover a part of the outlines: their middles are found to a few pixels.
    assert (green - blue)[1] == pytest.approx(-scale * apart[0], abs=8)  # behind is up
    assert (green - blue)[0] == pytest.approx(scale * apart[1], abs=8)
    assert apart[0] == pytest.approx(0.2, abs=0.02)


def test_lines_of_the_raster_are_round_distances_apart() -> None:
    image = draw_top_view(content("the duck"), 400, 480, 13)
    line = (np.abs(image[240].astype(int) - (236, 239, 243)) < 2).all(axis=1)
    columns = np.flatnonzero(line)
    gaps = np.diff(columns)
    gaps = gaps[gaps > 1]
    assert gaps.min() >= 25
    assert len(_STEPS) == len({round(s, 6) for s in _STEPS})


def test_the_region_is_tinted_on_the_side_that_was_said() -> None:
    made = content("the blue box left of the red box")
    assert made.region is not None
    image = draw_top_view(made, 400, 480, 13).astype(int)
    tinted = (np.abs(image - np.rint(0.22 * np.array(drawing.GREEN) + 0.78 * np.array((251, 252, 253)))) < 3).all(
        axis=2
    )
    assert tinted[:, :120].mean() > 0.4
    assert tinted[:, 375:].mean() < 0.02
