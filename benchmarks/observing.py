# SPDX-License-Identifier: Apache-2.0
"""Claim: boxes without masks cost little more than masks, and a question among a hundred namesakes is fast.

`Resolver.observe` and `Resolver.answer` are timed separately, by processor time, on generated frames and on real ones,
if there are any. The baseline for boxes without masks is the same frames with masks. The baseline for many objects of
one name is the usual answer: a sentence about one of ten objects that is understood and answered.

    python -m benchmarks.observing    real frames, if there are any, from SPATIAL_VLM_REAL_RGBD
"""

from __future__ import annotations

import dataclasses
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from benchmarks.harness import Claim, Timing, alternate, finish, option, repetitions, table
from benchmarks.resolving import LENS, scene_of
from benchmarks.scenes import tabletop
from spatial_vlm_ros import Resolver, load_frame
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.types import Detection, RgbdFrame, Scene

REAL = "SPATIAL_VLM_REAL_RGBD"
WORLDS, OBJECTS = 6, 8
SAID = ("the cup", "the can left of the box", "the box behind the mug", "put the cup next to the box")
USUAL, ONE_OF_TEN = 10, "the purple mug left of the can"
NAMESAKES = 100
ABOUT_NAMESAKES = ("the cup", "the leftmost cup", "the red cup", "the cup behind the cup", "put the cup on the cup")

Asked = tuple[RgbdFrame, tuple[Detection, ...], tuple[str, ...]]


def without_masks(frames: Sequence[Asked]) -> list[Asked]:
    """The same frames from a detector of boxes."""
    return [(frame, tuple(dataclasses.replace(d, mask=None) for d in seen), said) for frame, seen, said in frames]


def generated(worlds: int) -> list[Asked]:
    """Frames of a noisy sensor with all masks, and the sentences for each."""
    made = (tabletop(seed, OBJECTS, LENS, 1.0) for seed in range(worlds))
    return [(frame, seen.detections, SAID) for _, seen, frame in made]


def real(folder: Path) -> list[Asked]:
    """The frames of a folder with their own masks, and its cases."""
    cases = load_cases(folder)
    return [
        (*load_frame(folder / name), tuple(case.instruction for case in cases if case.frame == name))
        for name in dict.fromkeys(case.frame for case in cases)
    ]


def observed(resolver: Resolver, frames: Sequence[Asked]) -> list[Scene]:
    """The scenes of all frames."""
    return [resolver.observe(frame, seen) for frame, seen, _ in frames]


def answered(resolver: Resolver, frames: Sequence[Asked], scenes: Sequence[Scene]) -> None:
    """Resolve every instruction on its scene."""
    for (_, _, said), scene in zip(frames, scenes, strict=True):
        for words in said:
            resolver.answer(scene, words)


def measured(frames: Sequence[Asked], rounds: int) -> dict[str, Any]:
    """Milliseconds for each frame and each instruction, with masks and without."""
    resolver, sets = Resolver(), {"masks": frames, "boxes": without_masks(frames)}
    rivals = {}
    for name, some in sets.items():
        rivals[f"observe, {name}"] = partial(observed, resolver, some)
        rivals[f"answer, {name}"] = partial(answered, resolver, some, observed(resolver, some))
    counts = {"observe": len(frames), "answer": sum(len(said) for _, _, said in frames)}
    times = alternate(rivals, rounds, clock=time.process_time)
    each = {name: _each(timing, counts[name.split(",")[0]]) for name, timing in times.items()}
    return {"frames": len(frames), "instructions": counts["answer"], **{k: v.summary() for k, v in each.items()}}


def _each(timing: Timing, count: int) -> Timing:
    return Timing(tuple(seconds / count for seconds in timing.seconds))


def namesakes(n: int) -> Scene:
    """A scene of objects of one name, each with one of some colours."""
    scene = scene_of(n)
    objects = (dataclasses.replace(o, detection=dataclasses.replace(o.detection, label="cup")) for o in scene.objects)
    return dataclasses.replace(scene, objects=tuple(objects))


def among_namesakes(rounds: int) -> dict[str, Any]:
    """Answers among many objects of one name, and the usual answer."""
    few, many, resolver = scene_of(USUAL), namesakes(NAMESAKES), Resolver()
    rivals = {"usual": partial(resolver.answer, few, ONE_OF_TEN)}
    rivals |= {words: partial(resolver.answer, many, words) for words in ABOUT_NAMESAKES}
    return {name: timing.summary() for name, timing in alternate(rivals, rounds, clock=time.process_time).items()}


def main() -> int:
    """Measure, print and write."""
    rounds, worlds = repetitions(), int(option("worlds", WORLDS))
    cv2.setNumThreads(1)
    sets = {"generated": generated(worlds)}
    if os.environ.get(REAL):
        sets["real"] = real(Path(os.environ[REAL]))
    results = {name: measured(frames, rounds) for name, frames in sets.items()}
    table(
        "processor time of each frame and each instruction",
        ("frames", "step", "median ms", "p95 ms", "n"),
        [
            (name, step, value["median_ms"], value["p95_ms"], value["n"])
            for name, result in results.items()
            for step, value in result.items()
            if isinstance(value, dict)
        ],
    )
    alike = among_namesakes(rounds)
    usual = alike["usual"]["median_ms"]
    table(
        f"answers among {NAMESAKES} objects of one name",
        ("asked", "median ms", "time / usual"),
        [(name, value["median_ms"], value["median_ms"] / usual) for name, value in alike.items()],
    )
    boxes = [r["observe, boxes"]["median_ms"] / r["observe, masks"]["median_ms"] for r in results.values()]
    longest = max(value["median_ms"] for value in alike.values()) / usual
    claims = [
        Claim("observing boxes / masks, the most of any frames", max(boxes), 2.0, "x"),
        Claim(f"{NAMESAKES} objects of one name / usual answer, the longest", longest, 10.0, "x"),
    ]
    setting = {"clock": "process_time", "objects": OBJECTS, "baseline": "the same frames with masks; the usual answer"}
    return finish("observing", {"setting": setting, "sets": results, "namesakes": alike}, claims)


if __name__ == "__main__":
    sys.exit(main())
