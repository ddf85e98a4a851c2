# SPDX-License-Identifier: Apache-2.0
"""A program for a process of its own, which finds the packages that a test installed: asks, and prints JSON.

The camera looks along y, the robot stands at the origin and looks along x. Of two mugs "far" stands behind the cup for
the camera, "side" for the robot; "far" is as far from the cup as from the box.
"""

from __future__ import annotations

import json
import sys

from spatial_vlm_ros import Resolver
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import parse, plugged, render
from spatial_vlm_ros.output.json_schema import resolution_json
from spatial_vlm_ros.sim.examples import CAMERA
from spatial_vlm_ros.sim.tabletop import Body, Box, Cup, World, look_at
from spatial_vlm_ros.sim.tabletop import render as picture_of

BODIES = (
    Body("cup", "cup", Cup(0.035, 0.08), (0.6, 0.0, 0.0), "blue"),
    Body("far", "mug", Cup(0.035, 0.08), (0.6, 0.2, 0.0), "red"),
    Body("side", "mug", Cup(0.035, 0.08), (0.86, 0.0, 0.0), "green"),
    Body("box", "box", Box((0.07, 0.07, 0.13)), (0.8, 0.2, 0.0), "yellow"),
)


def main(sentences: list[str]) -> None:
    """One JSON object: the errors of plug-ins, and for each sentence its answer and its readings in words."""
    seen = picture_of(World(BODIES, table_size=(2.4, 1.6)), CAMERA, look_at((0.6, -0.85, 0.55), (0.68, 0.05, 0.0)))
    resolver, answers = Resolver(), []
    for sentence in sentences:
        try:
            again = [query.target.relations for query in parse(render(parse(sentence)[0]))]
            kept = parse(sentence)[0].target.relations in again
            words = render(parse(sentence)[0])
        except SpatialVlmError as error:
            words, kept = str(error), False
        answer = resolution_json(resolver.resolve(seen.frame, sentence, seen.detections))
        answers.append({"answer": answer, "words": words, "reads_again": kept})
    errors = {name: str(error) for name, error in plugged().errors.items()}
    print(json.dumps({"errors": errors, "answers": answers}))  # noqa: T201


if __name__ == "__main__":
    main(sys.argv[1:])
