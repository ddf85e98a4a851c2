# SPDX-License-Identifier: Apache-2.0
"""Make the frame and the image in docs/compare.md: a rule of thumb fails, and measurement does not.

The nearer chick stands on two boxes and is higher in the image than the farther one; the cup stands on a box. The rule
is that of examples/higher_is_farther.py. Needs the extra `sim`.

    python -m scripts.draw_comparison --frames build/compare    # for `spatial-vlm compare build/compare/behind`
    python -m scripts.draw_comparison                            # also docs/images/compare_behind.jpg
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

import numpy as np

from scripts.images import save_jpeg
from spatial_vlm_lab.comparison.comparison_table import comparison as print_table
from spatial_vlm_lab.comparison.comparison_table import draw_comparison
from spatial_vlm_lab.comparison.relation_comparison import ComparisonPlan, compare_sentence, expected_of, judges_of
from spatial_vlm_ros import ResolverConfig
from spatial_vlm_ros.recording.frame_folder import load_frame, write_frame
from spatial_vlm_ros.sim.physics import PhysicsWorld, PlacedModel
from spatial_vlm_ros.sim.settled import BASE, make
from spatial_vlm_ros.sim.tabletop import VGA, look_at, noisy, random_scenery

NAME, WORDS = "behind", "the chick behind the cup"
RULE = "rule=examples.higher_is_farther:HigherIsFarther"
SEED, EYE_HEIGHT = 137, 0.341
CUP, NEAR, FAR = (0.74, 0.0), (0.651, 0.127), (0.936, -0.121)
GAP = 0.002  # metres between stacked objects before they settle


def world() -> PhysicsWorld:
    """The cup on a box, the ribbon chick in front of it on two, the bonnet chick behind it on the table."""
    rng = np.random.default_rng(SEED)
    scenery = random_scenery(rng)
    table = scenery.table_height + GAP
    objects = []

    def put(id_: str, kind: str, place: tuple[float, float], height: float, yaw: float, colour: str | None) -> float:
        model = make(kind, rng, colour)
        objects.append(PlacedModel(id_, model, (*place, height), yaw))
        return height + float(model.size[2]) + GAP

    put("cup", "cup", CUP, put("red box", "box", CUP, table, 0.2, "red"), 0.0, "blue")
    top = put("green box", "box", NEAR, table, 1.2, "green")
    top = put("white box", "box", NEAR, top, 1.2, "white")
    put("bonnet", "bonnet chick", FAR, table, 3.3, None)
    put("ribbon", "ribbon chick", NEAR, top, 3.0, None)
    return PhysicsWorld(objects, scenery, look_at((-0.02, 0.0, EYE_HEIGHT), (0.76, 0.0, 0.12), BASE))


def write_example(root: Path) -> Path:
    """Write the frame's folder, with the case that says which chick is right."""
    with world() as simulated:
        seen = simulated.render(VGA)
    folder = write_frame(root / NAME, noisy(seen.frame, np.random.default_rng(0)), seen.detections)
    case = {"frame": NAME, "instruction": WORDS, "kind": ["behind"], "expect": {"status": "OK", "id": "bonnet"}}
    (root / "cases.jsonl").write_text(json.dumps(case) + "\n", encoding="utf-8")
    return folder


def main() -> int:
    """Write the frame; also draw the image unless --frames is given."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--frames", type=Path)
    given = parser.parse_args()
    folder = write_example(given.frames or Path("build/compare"))
    print(folder)
    if given.frames is None:
        frame, detections = load_frame(folder)
        plan, config = ComparisonPlan(judges_of((RULE,))), ResolverConfig()
        expected = expected_of(folder, WORDS)
        compared, answered = compare_sentence(frame, detections, WORDS, plan, config, name=NAME, expected=expected)
        print_table(compared)
        save_jpeg(draw_comparison(frame, answered, compared, config), "compare_behind")
    return 0


if __name__ == "__main__":
    sys.exit(main())
