# SPDX-License-Identifier: Apache-2.0
"""Does the compact model recognise images unlike its training images, and what would it answer on them?

Distances of the shipped model (`vlm/compact/familiarity.py`; its limit comes from simulated images of the validation
seeds) are measured on simulated images of the test seeds, on real frames, and on frames of other renderers. A real or
foreign frame is caught if its distance is above the limit.

On the same real frames it also counts boxes with a score of 0.9 or more when the model is asked for all kinds it knows.
A box is right if an object of that name in detections.json overlaps by half (intersection over union).

    python -m benchmarks.familiarity                   real frames from SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.familiarity --rendered DIR    frame folders of another renderer, too
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from benchmarks.harness import REAL_FRAMES, Claim, arguments, finish, frames_of, share
from spatial_vlm_lab.sim.training_frames import training_frames
from spatial_vlm_lab.training.images import read_split
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception.backends.compact import CompactGrounder, load, shipped
from spatial_vlm_ros.perception.labels import label_fit
from spatial_vlm_ros.recording.frame_folder import load_frame
from spatial_vlm_ros.sim.settled import DEMO_WORLDS, settled_tabletop
from spatial_vlm_ros.sim.tabletop import camera_of
from spatial_vlm_ros.types import NounPhrase, Rgb

CONFIDENT, OVERLAP = 0.9, 0.5
HD_SHARE = 5  # every this-many-th settled world is also rendered at 1280x720
Distances = npt.NDArray[np.float64]


def simulated(worlds: int) -> Iterator[tuple[str, Rgb]]:
    """Images of the package's own generators that were not used in training."""
    first = read_split(shipped() / "split.json").test.first
    for seed in range(first, first + worlds):
        with settled_tabletop(seed) as world:
            yield "settled worlds, 640x480", world.render(camera_of(640, 480)).frame.rgb
            if (seed - first) % HD_SHARE == 0:
                yield "settled worlds, 1280x720", world.render(camera_of(1280, 720)).frame.rgb
        for frame in training_frames(seed, 1, (640, 480)):
            yield "varied worlds, 640x480", frame.rgb
    for make in DEMO_WORLDS.values():
        with make() as world:
            yield "demo", world.render(camera_of(640, 480)).frame.rgb


def summary(distances: Distances) -> dict[str, float]:
    """Minimum, median and maximum."""
    least, median, most = np.quantile(distances, (0.0, 0.5, 1.0))
    return {"least": round(float(least), 3), "median": round(float(median), 3), "greatest": round(float(most), 3)}


def confident_boxes(grounder: CompactGrounder, folders: Sequence[Path]) -> tuple[int, int]:
    """Number of boxes with a score of CONFIDENT or more on frames with known objects, and number of right ones."""
    phrases = [NounPhrase(label) for label in grounder.spec.labels]
    given = right = 0
    for folder in folders:
        frame, known = load_frame(folder)
        for found in grounder.ground(frame.rgb, phrases).detections:
            if found.score < CONFIDENT:
                continue
            given += 1
            alike = [one.box_xyxy for one in known if label_fit(found.label, one.label) > 0.0]
            right += bool(alike) and bool((overlaps(np.array(found.box_xyxy), alike) >= OVERLAP).any())
    return given, right


def main() -> int:
    """Run and write benchmarks/results/familiarity.json."""
    options = arguments(__doc__, worlds=200, rendered=Path)
    grounder, limit = load(threads="1"), load().limit
    by_kind: dict[str, list[float]] = {}
    for kind, rgb in simulated(options.worlds):
        by_kind.setdefault(kind, []).append(grounder.distance(rgb))
    inside = np.array([one for some in by_kind.values() for one in some])
    results: dict[str, Any] = {
        "limit": round(limit, 4),
        "simulated": {
            kind: {"refused": share([one > limit for one in some]), "distances": summary(np.array(some))}
            for kind, some in by_kind.items()
        },
        "all simulated": {"refused": share((inside > limit).tolist())},
    }
    claims = [Claim("simulated images that are refused", float((inside > limit).mean()), 0.03, "")]
    for name, folder in (("real", REAL_FRAMES), ("other renderers", options.rendered)):
        folders = [] if folder is None else frames_of(folder)
        if folders:
            far = np.array([grounder.distance(load_frame(one)[0].rgb) for one in folders])
            results[name] = {"caught": share((far > limit).tolist()), "distances": summary(far)}
            claims += [Claim(f"{name}: caught", float((far > limit).mean()), 0.9, "", True)] if name == "real" else []
    if folders := frames_of(REAL_FRAMES):
        given, right = confident_boxes(load(threads="1", unfamiliar="answer"), folders)
        results["confident boxes on real frames"] = {"given": given, "right": right}
    return finish("familiarity", results, claims)


if __name__ == "__main__":
    raise SystemExit(main())
