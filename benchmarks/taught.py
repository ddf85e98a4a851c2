# SPDX-License-Identifier: Apache-2.0
"""Whether objects taught on one frame get their name on others, how sure a stated name is, and what both take.

Each frame in turn is the one that is taught: each object that is seen whole, by its box, once. On every other frame of
the set what stands there is found by depth alone and named. An object is the same if label, height and paint are; most
things in the other frames were never taught.

    python -m benchmarks.taught                                     the real frames of SPATIAL_VLM_REAL_RGBD
    python -m benchmarks.taught --sets OUTSIDE OUTSIDE2             folders of rendered frames with truth.json, too
    python -m benchmarks.taught --sets OUTSIDE --fit                fit the weights on the first of them, and print them
"""

from __future__ import annotations

import json
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from benchmarks.harness import REAL_FRAMES, Claim, arguments, finish, frames_of, share, spreads
from spatial_vlm_ros import Detection, Resolver, load_frame
from spatial_vlm_ros.geometry.boxes import overlaps
from spatial_vlm_ros.perception import taught
from spatial_vlm_ros.perception.taught import NAMED, ShownView, TaughtObjects, raised_objects
from spatial_vlm_ros.perception.taught_store import MOST_OBJECTS, taught_objects, teach

RECURRING = {
    "purple cup": ("f01/d2", "f02/d2", "f03/d1"), "yellow block": ("f01/d3", "f02/d0", "f03/d5"),
    "green mug": ("f02/d1", "f03/d2"), "black marker": ("f02/d3", "f03/d8"), "blue marker": ("f02/d4", "f03/d9"),
    "cookie tin": ("f06/d0", "f07/d1"),
}  # fmt: skip
"""Objects of the real frames that are in several of them, by looking at the images."""
OTHER_WORDS = {
    "white mug": "mug", "ceramic mug": "mug", "tin can": "tomato soup can", "small can": "tomato soup can",
    "box of crackers": "cracker box", "plastic jug": "pitcher", "pair of scissors": "scissors", "meat tin": "meat can",
    "potted meat can": "meat can", "large can": "coffee can", "blue bowl": "bowl", "eraser": "foam brick",
}  # fmt: skip
"""Labels of the rendered frames that stand for one model of an object."""
SAME_HEIGHT, SAME_HUE, SAME_LIGHT = 0.004, 18.0, 70.0  # metres; 8-bit Lab: one model, one paint
SAME_PLACE = 0.5  # overlap (IoU) from which what stands there is an object of the truth
REGIONS, STORED_VIEWS = 20, 4
# Real cameras and light differ more than those of a renderer: deviations of the logarithm of brightness, of one channel
# against the others, of saturation, and of lengths.
BRIGHTER, TINTED, PALER, LENGTHS = 0.25, 0.06, 0.2, np.array((0.04, 0.2, 0.2, 0.0, 0.06, 0.06, 0.06, 0.06, 0.06))


@dataclass(frozen=True, eq=False)
class Shown:
    """Something in a frame: which object it is ("" = none, or several), and its view if it is measured."""

    frame: str
    name: str
    view: ShownView | None


def objects_of(folder: Path) -> Iterator[tuple[Detection, str, float]]:
    """The detections of a frame, what each is by the truth ("" for furniture), and its height (0 for real ones)."""
    _, detections = load_frame(folder)
    truth = json.loads((folder / "truth.json").read_text())["objects"] if (folder / "truth.json").exists() else None
    for one in detections:
        if truth is None:
            place = f"{folder.name}/{one.id}"
            yield one, next((name for name, places in RECURRING.items() if place in places), place), 0.0
        elif one.id in truth:
            height = truth[one.id]["size"][2]
            yield one, OTHER_WORDS.get(one.label, one.label) if height < 0.5 else "", height


def read_set(folder: Path, most: int) -> tuple[list[Shown], list[Shown], list[float]]:
    """What can be taught and what is found in all frames of a set, and the seconds that finding takes a frame."""
    resolver, shown, found, seconds = Resolver(), [], [], []
    paints: dict[str, list[tuple[float, npt.NDArray[np.float32]]]] = {}
    for path in frames_of(folder)[:most]:
        frame, _ = load_frame(path)
        known = list(objects_of(path))
        boxes = [replace(one, mask=None) for one, _, _ in known]
        views = dict(
            zip((one.id for one in boxes), (view for _, view in seen_in(resolver, frame, boxes)), strict=False)
        )
        names = {}
        for one, name, height in known:
            view = views.get(one.id)
            if name and height and view is not None:
                name = painted(paints.setdefault(name, []), name, height, view)
            names[one.id] = name
            if name:
                shown.append(Shown(path.name, name, view))
        begun = time.process_time()
        there = seen_in(resolver, frame, ())
        seconds.append(time.process_time() - begun)
        for one, view in there:
            best = [(overlap(one, each), each.id) for each, name, _ in known if name]
            over, who = max(best, default=(0.0, ""))
            found.append(Shown(path.name, names[who] if over >= SAME_PLACE else "", view))
    return shown, found, seconds


def seen_in(
    resolver: Resolver, frame: Any, detections: Sequence[Detection]
) -> list[tuple[Detection, ShownView | None]]:
    """Detections and what has none, with their views."""
    return raised_objects(frame, detections, resolver.observe, resolver.config)


def overlap(one: Detection, other: Detection) -> float:
    """Intersection over union, of masks if both have one."""
    if one.mask is None or other.mask is None:
        return float(overlaps(one.box_xyxy, other.box_xyxy)[0, 0])
    return float((one.mask & other.mask).sum() / (one.mask | other.mask).sum())


def painted(known: list[tuple[float, Any]], name: str, height: float, view: ShownView) -> str:
    """A name with the number of its size and paint."""
    lab = view.numbers[9:12]
    for number, (other, paint) in enumerate(known):
        alike = abs(lab[0] - paint[0]) < SAME_LIGHT and np.hypot(*(lab[1:] - paint[1:])) < SAME_HUE
        if alike and abs(other - height) < SAME_HEIGHT:
            return f"{name} {number}"
    known.append((height, lab))
    return f"{name} {len(known) - 1}"


def in_other_light(view: ShownView, rng: np.random.Generator) -> ShownView:
    """The same view by another camera in other light."""
    numbers = view.numbers.copy()
    rgb = cv2.cvtColor(numbers[9:12].round().clip(0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_Lab2RGB)
    lit = rgb.reshape(3) * np.exp(rng.normal(0, BRIGHTER) + rng.normal(0, TINTED, 3))
    lit = lit.mean() + (lit - lit.mean()) * np.exp(rng.normal(0, PALER))
    lab = cv2.cvtColor(lit.clip(0, 255).astype(np.uint8).reshape(1, 1, 3), cv2.COLOR_RGB2Lab)
    numbers[9:12] = lab.reshape(3)
    numbers[:9] *= np.exp(rng.normal(0, 1, 9) * LENGTHS).astype(np.float32)
    return replace(view, numbers=numbers)


def store_of(shown: Sequence[Shown]) -> TaughtObjects:
    """The objects as if taught; the first view of each."""
    first = {one.name: one.view for one in reversed(shown) if one.view is not None and not one.view.partial}
    views = [view for view in first.values() if view is not None]
    numbers = np.array([view.numbers for view in views]).reshape(len(views), -1)
    return TaughtObjects(tuple(first), np.arange(len(views)), numbers, [view.local for view in views])


def fitted(shown: Sequence[Shown], found: Sequence[Shown]) -> npt.NDArray[np.float64]:
    """Weights by logistic regression over pairs of a taught and a seen view, same and different counting alike."""
    rows, same = [], []
    for one in found:
        others = [each for each in shown if each.frame != one.frame and each.view and not each.view.partial]
        if one.view is None:
            continue
        local = [taught.agreeing(each.view.local, one.view.local) for each in others if each.view]
        numbers = np.array([each.view.numbers for each in others if each.view])
        rows.append(np.column_stack((taught.compared(numbers, one.view.numbers), local, np.ones(len(others)))))
        same += [each.name == one.name for each in others]
    x, y = np.concatenate(rows).astype(np.float64), np.array(same, np.float64)
    counts = np.where(y > 0, 0.5 / y.mean(), 0.5 / (1 - y.mean()))
    free, weights = np.ones(x.shape[1]), np.zeros(x.shape[1])
    free[-1] = 1e-9
    for _ in range(50):
        p = 1 / (1 + np.exp(-x @ weights))
        slope = x.T @ (counts * (p - y)) + free * weights
        weights -= np.linalg.solve((x * (counts * p * (1 - p))[:, None]).T @ x + np.diag(free), slope)
    return weights


def named(shown: Sequence[Shown], found: Sequence[Shown]) -> dict[str, Any]:
    """Right names, wrong ones and none, of objects that were taught and of others; and how sure names are right."""
    counts: Counter[str] = Counter()
    stated: dict[str, list[bool]] = {"0.9 and more": [], "0.8 to 0.9": [], "0.5 to 0.8": []}
    for frame in sorted({one.frame for one in shown}):
        store = store_of([one for one in shown if one.frame == frame])
        if not store.names:
            continue
        others = [one for one in found if one.frame != frame and one.view is not None]
        seen = [(one.frame, one.name) for one in others]
        counts["not found by depth"] += sum(
            one.name in store.names and (one.frame, one.name) not in seen for one in shown if one.frame != frame
        )
        for one, names in zip(others, store.names_of([one.view for one in others if one.view]), strict=True):
            was_taught, sure = one.name in store.names, len(names) == 1 and names[0][1] >= NAMED
            right = sure and names[0][0] == one.name
            kind = "right" if right else "wrong" if sure else "unclear" if names else "unknown"
            counts[f"{'taught' if was_taught else 'other'}: {kind}"] += 1
            if sure:
                p = names[0][1]
                stated["0.9 and more" if p >= 0.9 else "0.8 to 0.9" if p >= 0.8 else "0.5 to 0.8"].append(right)
    kinds = [word for word in ("right", "wrong", "unclear", "unknown") for _ in range(counts[f"taught: {word}"])]
    others_named = [
        word == "wrong" for word in ("wrong", "unclear", "unknown") for _ in range(counts[f"other: {word}"])
    ]
    return {
        **{
            f"taught, {word}": share([one == word for one in kinds])
            for word in ("right", "wrong", "unclear", "unknown")
        },
        "others, named": share(others_named),
        "taught, not found by depth": counts["not found by depth"],
        "right if stated": {text: share(oks) for text, oks in stated.items()},
    }


def times(shown: Sequence[Shown], repetitions: int) -> dict[str, Any]:
    """Seconds of processor time to keep a view, to read a full store, and to compare REGIONS with it."""
    rng, views = np.random.default_rng(0), [one.view for one in shown if one.view is not None]
    seconds: dict[str, list[float]] = {"keep a view": [], "read a full store": [], "match twenty": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "full.taught"
        flat = [in_other_light(views[n], rng) for n in rng.integers(len(views), size=STORED_VIEWS * MOST_OBJECTS)]
        for number in range(MOST_OBJECTS):
            begun = time.process_time()
            teach(path, f"object{number} cup", flat[STORED_VIEWS * number : STORED_VIEWS * (number + 1)])
            seconds["keep a view"].append((time.process_time() - begun) / STORED_VIEWS)
        for _ in range(repetitions):
            begun = time.process_time()
            store = taught_objects(path)
            seconds["read a full store"].append(time.process_time() - begun)
            begun = time.process_time()
            store.names_of([views[n] for n in rng.integers(len(views), size=REGIONS)])
            seconds["match twenty"].append(time.process_time() - begun)
    return spreads(seconds, 5)


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, sets=[Path], fit=False, frames=1000, repetitions=5)
    sets = [*given.sets, *([REAL_FRAMES] if REAL_FRAMES.is_dir() else [])]
    if not sets:
        print(f"real RGB-D frames not found at {REAL_FRAMES}; set SPATIAL_VLM_REAL_RGBD, or give --sets")
        return 1
    measured: dict[str, Any] = {}
    taking: list[Shown] = []
    for folder in sets:
        shown, found, seconds = read_set(folder, given.frames)
        if given.fit and folder == sets[0]:
            rng = np.random.default_rng(0)
            lit = [replace(one, view=in_other_light(one.view, rng)) for one in found if one.view is not None]
            print("weights:", ", ".join(f"{value:.2f}" for value in fitted(shown, lit)))
            return 0
        measured[folder.name] = {**named(shown, found), "find and describe, s": spreads({"s": seconds})["s"]}
        taking += shown
    speed = times(taking, given.repetitions)
    claims = [Claim("matching twenty regions with 2,000 objects", speed["match twenty"]["p95"], 1.0, "s")]
    claims += [
        Claim(
            f"right of names stated with 0.9 and more, {name}",
            of["right if stated"]["0.9 and more"]["share"],
            0.9,
            "",
            True,
        )
        for name, of in measured.items()
        if of["right if stated"]["0.9 and more"]["n"]
    ]
    return finish("taught", {"sets": measured, "seconds": speed}, claims)


if __name__ == "__main__":
    raise SystemExit(main())
