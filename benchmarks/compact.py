# SPDX-License-Identifier: Apache-2.0
"""The compact model from image and sentence to pose, on unseen worlds; its time and memory.

Questions and truth are those of benchmarks/simulator.py, on the test part of models/compact/split.json, with stereo
noise. The resolver gets only the image: all objects come from the model. An answer is right if most of the chosen mask
lies on the object that is meant. Pairs of colour and kind that were withheld from training are scored separately. So
are two values of `decision.mass`, the probability mass that an answer needs: the default, and 0.6, which was chosen on
worlds outside the split (seeds 4,000,000 to 4,000,059; no wrong answer in 179). The claims are about trained pairs, at
0.6. Unfamiliar images are not refused here; benchmarks/familiarity.py measures that check.

    python -m benchmarks.compact                       300 worlds, time and memory
    python -m benchmarks.compact --model run/model     another model
    python -m benchmarks.compact --first-seed 2000000 --worlds 60   the validation part: prints failures, keeps nothing
"""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import REPETITIONS, Claim, alternate, arguments, finish, share, show
from benchmarks.simulator import Outcome, questions
from spatial_vlm_lab.training.images import read_split
from spatial_vlm_ros import Resolver
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.backends.compact import shipped
from spatial_vlm_ros.perception.grounder import Grounder, Grounding
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.settled import settled_tabletop
from spatial_vlm_ros.sim.tabletop import STEREO, VGA, noisy
from spatial_vlm_ros.types import Detection, NounPhrase, Rgb

MASSES = (0.8, 0.6)
CHOSEN = 0.6
LEAST_OVERLAP = 0.3
"""Intersection over union of masks from which a detection counts as an object."""
_MEASURE = """
import json, os, sys
import numpy as np
from benchmarks.live_graph import private_mb
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.types import NounPhrase
grounder = load_grounder("compact", json.loads(sys.argv[1]))
rgb = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
for _ in range(20):
    grounder.ground(rgb, [NounPhrase(name) for name in ("chick", "cup", "can", "box")])
print(json.dumps(private_mb(os.getpid())))
"""


@dataclass(frozen=True)
class ModelOutcome(Outcome):
    """Result of a question.

    Args:
        mass: probability mass that an answer needs.
        unseen: whether the question is about a withheld pair of colour and kind.
    """

    mass: float
    unseen: bool


class Watched:
    """A grounder that answers for one image, and for crops of it, once."""

    def __init__(self, grounder: Grounder) -> None:
        self._grounder = grounder
        self._known: dict[Any, Grounding] = {}

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        """Call the grounder."""
        asked = rgb.shape, hash(rgb.tobytes()), tuple(phrases)
        if asked not in self._known:
            self._known[asked] = self._grounder.ground(rgb, phrases)
        return self._known[asked]


def one_world(seed: int, model: str, withheld: frozenset[tuple[str, str]]) -> list[ModelOutcome]:
    """Answer all questions of one world."""
    watched = Watched(load_grounder("compact", {"model": model, "threads": "1", "unfamiliar": "answer"}))
    resolvers = {mass: Resolver(config_from({"decision": {"mass": mass}}), watched) for mass in MASSES}
    outcomes = []
    with settled_tabletop(seed) as world:
        seen = world.render(VGA)
        frame = noisy(seen.frame, np.random.default_rng(seed), STEREO, seen.shiny)
        for question, mass in itertools.product(questions(world, seen), MASSES):
            answer, detections, *_ = resolvers[mass].look_at(frame).ask(question.words)
            given = None
            if answer.target is not None:
                chosen = next(one for one in detections if one.id == answer.target.id)
                given = object_of(chosen, seen) or "nothing"
            unseen = question.id is not None and is_withheld(question.id, question.words, world, withheld)
            text = f"seed {seed}: {question.words!r} means {question.id}, got {answer.status.value} {given}"
            ended = (question.kind, question.id is not None, given is not None, given == question.id, text)
            outcomes.append(ModelOutcome(*ended, mass, unseen))
    return outcomes


def object_of(detection: Detection, seen: PhysicsRendering) -> str | None:
    """The object that contains most of a detection's mask, or None."""
    assert detection.mask is not None
    shares = {
        id_: float((mask & detection.mask).sum() / max(1, (mask | detection.mask).sum()))
        for id_, mask in seen.masks.items()
    }
    best = max(shares, key=lambda id_: shares[id_], default=None)
    return best if best is not None and shares[best] >= LEAST_OVERLAP else None


def is_withheld(id_: str, words: str, world: PhysicsWorld, withheld: frozenset[tuple[str, str]]) -> bool:
    """Whether the meant object, or one that the words name, is of a withheld pair."""
    named = [true for true in world.truth.values() if true.id == id_ or true.label in words]
    return any((word, true.label) in withheld for true in named for word in true.attributes)


def scores(outcomes: Sequence[ModelOutcome]) -> dict[str, Any]:
    """Shares with Wilson intervals."""

    def of(some: Sequence[ModelOutcome]) -> dict[str, Any]:
        asked = [o for o in some if o.asked_for]
        return {
            "right_of_answers": share([o.right for o in asked if o.answered]),
            "answered": share([o.answered for o in asked]),
            "right": share([o.right for o in asked]),
        }

    return {
        "all": of(outcomes),
        "pairs_shown": of([o for o in outcomes if not o.unseen]),
        "pairs_never_shown": of([o for o in outcomes if o.unseen]),
        "pose_where_nothing_fits": {"answered": share([o.answered for o in outcomes if not o.asked_for])},
    }


def speed(model: str, repetitions: int) -> dict[str, Any]:
    """Milliseconds for a 640x480 image on two threads, by number of phrases; private memory of a process, MB."""
    grounder = load_grounder("compact", {"model": model, "threads": "2", "unfamiliar": "answer"})
    with settled_tabletop(read_split(shipped() / "split.json").validation.first) as world:
        rgb = world.render(VGA).frame.rgb
    names = ("chick", "cup", "can", "box", "bowl", "apple", "bottle", "plate")
    rivals = {
        f"{count} phrases": partial(grounder.ground, rgb, [NounPhrase(name) for name in names[:count]])
        for count in (1, 2, 4, 8)
    }
    options = json.dumps({"model": model, "threads": "2", "unfamiliar": "answer"})
    told = subprocess.run([sys.executable, "-c", _MEASURE, options], capture_output=True, text=True, check=True)
    return {
        "times": {name: timing.summary() for name, timing in alternate(rivals, repetitions).items()},
        "private_mb": round(float(json.loads(told.stdout)), 1),
    }


def main() -> int:
    """Run and write benchmarks/results/compact.json; for worlds outside the test part nothing is written."""
    split = read_split(shipped() / "split.json")
    options = arguments(
        __doc__, model="", first_seed=split.test.first, worlds=split.test.worlds, repetitions=REPETITIONS, jobs=2
    )
    model = str(Path(options.model).resolve()) if options.model else ""
    os.environ.setdefault("LP_NUM_THREADS", "1")
    seeds = range(options.first_seed, options.first_seed + options.worlds)
    with ProcessPoolExecutor(options.jobs) as pool:
        run = partial(one_world, model=model, withheld=split.held_out_pairs)
        outcomes = [o for some in pool.map(run, seeds, chunksize=4) for o in some]
    score = {str(mass): scores([o for o in outcomes if o.mass == mass]) for mass in MASSES}
    if options.first_seed != split.test.first:
        show("compact", score)
        print(*(o.text for o in outcomes if not o.right and o.mass == CHOSEN), sep="\n")
        return 0
    chosen = score[str(CHOSEN)]["pairs_shown"]
    measured = speed(model, options.repetitions)
    claims = [
        Claim("right, of answers", 100 * chosen["right_of_answers"]["share"], 95, "%", least=True),
        Claim("answered, of questions with an answer", 100 * chosen["answered"]["share"], 75, "%", least=True),
        Claim("640x480, four phrases, two threads", measured["times"]["4 phrases"]["median_ms"], 200, "ms"),
        Claim("private memory", measured["private_mb"], 400, "MB"),
    ]
    return finish("compact", {"seeds": [seeds.start, seeds.stop - 1], "questions": score, **measured}, claims)


if __name__ == "__main__":
    raise SystemExit(main())
