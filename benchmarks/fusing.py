# SPDX-License-Identifier: Apache-2.0
"""Value of fusing the small judge's verdicts with the measurement, on good and on bad depth.

The questions of `benchmarks.simulator` about settled tabletops, each answered by measurement only and with `judge.mode:
fuse`, on the same frames: depth of a stereo camera, four times its noise, 30 % of it lost in holes, none on the target,
none on the anchor. Calibrations are those of models/relation_judge. A rival is better if it answers more and is not
wrong more often. Right, wrong and refused answers are counted, and the area under the curve of risk (share of wrong
answers) over coverage, by falling confidence.

    python -m benchmarks.fusing --seeds 200
    python -m benchmarks.fusing --seeds 200 --raised    on raised worlds (the lab's `sim.raised_worlds`)
    python -m benchmarks.fusing --frames DIR    the cases of a frame folder, taken for simulated images
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from benchmarks.harness import Claim, arguments, finish, share
from benchmarks.simulator import CLEARLY_NOT, Question, questions, well_seen
from spatial_vlm_lab.sim.raised_worlds import raised_camera, raised_view, raised_world
from spatial_vlm_ros import Detection, Resolver, ResolverConfig, RgbdFrame, Status, load_frame
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.parameters import config_from
from spatial_vlm_ros.perception.backends import shipped_model
from spatial_vlm_ros.perception.backends.relation_judge import NAME
from spatial_vlm_ros.perception.labels import label_match
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.resolver import understood
from spatial_vlm_ros.sim.cameras import VGA
from spatial_vlm_ros.sim.physics import PhysicsRendering, PhysicsWorld
from spatial_vlm_ros.sim.sensor import STEREO, noisy
from spatial_vlm_ros.sim.settled import CLEAR, settled_tabletop
from spatial_vlm_ros.sim.truth import margin

FIRST_SEED = 4_950_000
HOLES = 0.3
_QUESTIONS = 4  # questions of each raised world with an answer, and as many without one
_NOISIER = replace(STEREO, floor=4 * STEREO.floor, quadratic=4 * STEREO.quadratic)


@dataclass(frozen=True)
class FusedOutcome:
    """Result of a question on one kind of depth.

    Args:
        depth: kind of depth.
        rival: "measurement" or "fused".
        question: the question asked, by seed and words.
        outcome: "right", "wrong", "needlessly refused" or "rightly refused".
        confidence: confidence of the answer.
        answerable: whether the question has an answer.
    """

    depth: str
    rival: str
    question: str
    outcome: str
    confidence: float
    answerable: bool


def rivals() -> dict[str, ResolverConfig]:
    """The configurations: measurement only, and fused."""
    path = str(shipped_model(NAME) / "calibration.json")
    judge = {"mode": "fuse", "by": "relation-judge", "calibration": path}
    simulated = {"domain_gate": {"images": "simulated"}}
    return {"measurement": config_from(simulated), "fused": config_from({"judge": judge, **simulated})}


def depths(seen: PhysicsRendering, question: Question, seed: int) -> Iterator[tuple[str, RgbdFrame]]:
    """The frame with each kind of depth."""
    good = noisy(seen.frame, np.random.default_rng(seed), STEREO, seen.shiny)
    yield "stereo", good
    yield "four times the noise", noisy(seen.frame, np.random.default_rng(seed), _NOISIER, seen.shiny)
    yield "30 % in holes", _without(good, _holes(good.depth.shape, np.random.default_rng(seed)))
    if question.id is not None:
        yield "none on the target", _without(good, seen.masks[question.id])
    if question.anchor is not None:
        yield "none on the anchor", _without(good, seen.masks[question.anchor])


def _without(frame: RgbdFrame, mask: np.ndarray) -> RgbdFrame:
    return replace(frame, depth=np.where(mask, np.nan, frame.depth).astype(frame.depth.dtype))


def _holes(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Discs that cover a share HOLES of an image."""
    lost = np.zeros(shape, np.uint8)
    while lost.mean() < HOLES:
        middle = int(rng.integers(shape[1])), int(rng.integers(shape[0]))
        cv2.circle(lost, middle, int(rng.integers(4, 30)), 1, -1)
    return lost.astype(bool)


def one_seed(seed: int) -> list[FusedOutcome]:
    """All questions of one settled tabletop, on each kind of depth, by each rival."""
    with settled_tabletop(seed) as world:
        seen = world.render(VGA)
        return _asked(seed, seen, [one for one in questions(world, seen) if one.anchor is not None])


def one_raised_seed(seed: int) -> list[FusedOutcome]:
    """The same for one raised world, seen from anywhere."""
    rng = np.random.default_rng((seed, 31))
    with raised_world(rng) as world:
        pose = raised_view(rng)
        seen = world.render(raised_camera(rng, (VGA.width, VGA.height)), pose)
        return _asked(seed, seen, raised_questions(world, seen, pose.translation, rng))


def raised_questions(
    world: PhysicsWorld, seen: PhysicsRendering, eye: np.ndarray, rng: np.random.Generator
) -> list[Question]:
    """Questions with a unique anchor whose relation clearly holds for one object of a name, or for none."""
    clear, found = well_seen(world, seen), []
    in_image = [world.truth[d.id] for d in seen.detections]
    names = Counter(one.label for one in in_image)
    for anchor in (one for one in clear.values() if names[one.label] == 1):
        for label in sorted({one.label for one in clear.values()} - {anchor.label}):
            same = [one for one in in_image if one.label == label]
            for relation in ("left of", "right of", "behind", "in front of", "on"):
                margins = {one.id: margin(relation, one, anchor, eye) for one in same}
                best = max(margins, key=margins.__getitem__)
                rest = max((m for id_, m in margins.items() if id_ != best), default=-math.inf)
                words = f"grab the {label} {relation} the {anchor.label}"
                if margins[best] >= CLEAR[relation] and rest < -CLEARLY_NOT and best in clear:
                    found.append(Question(relation, words, best, anchor.id))
                elif margins[best] < -CLEARLY_NOT:
                    found.append(Question(relation, words, None, anchor.id))
    holds = [one for one in found if one.id is not None]
    fails = [one for one in found if one.id is None]
    return [of[int(n)] for of in (holds, fails) for n in rng.permutation(len(of))[:_QUESTIONS]]


def _asked(seed: int, seen: PhysicsRendering, asked: Sequence[Question]) -> list[FusedOutcome]:
    found, resolvers = [], {name: Resolver(config) for name, config in rivals().items()}
    for question in asked:
        kinds = depths(seen, question, seed)
        found += _outcomes(resolvers, str(seed), question.words, question.id, kinds, seen.detections)
    return found


def _outcomes(
    resolvers: Mapping[str, Resolver],
    key: str,
    words: str,
    id_: str | None,
    kinds: Iterable[tuple[str, RgbdFrame]],
    detections: Sequence[Detection],
    also: Sequence[str] = (),
) -> Iterator[FusedOutcome]:
    """One question on each kind of depth by each rival; an object of `also` is as right as the one with the id."""
    for depth, frame in kinds:
        for name, resolver in resolvers.items():
            answer = resolver.resolve(frame, words, detections)
            given = answer.target.id if answer.status is Status.OK and answer.target else None
            if given is None:
                outcome = "rightly refused" if id_ is None else "needlessly refused"
            else:
                outcome = "right" if given in (id_, *also) else "wrong"
            yield FusedOutcome(depth, name, f"{key} {words}", outcome, answer.confidence, id_ is not None)


def folder(root: Path) -> list[FusedOutcome]:
    """The same for all cases of a frame folder; the anchor is the object named in the first relation."""
    found, resolvers = [], {name: Resolver(config) for name, config in rivals().items()}
    for number, case in enumerate(load_cases(root)):
        expect = case.expect
        if expect is None:
            continue
        seen, detections = load_frame(root / case.frame)
        frame = replace(seen, domain="simulated")
        id_ = expect.id if expect.status is Status.OK else None
        kinds = {
            "as recorded": frame,
            "four times the noise": noisy(frame, np.random.default_rng(number), _NOISIER),
            "30 % in holes": _without(frame, _holes(frame.depth.shape, np.random.default_rng(number))),
        }
        target = next((one.mask for one in detections if one.id == id_), None)
        if target is not None:
            kinds["none on the target"] = _without(frame, target)
        anchors = _anchors(case.instruction, detections)
        if anchors is not None:
            kinds["none on the anchor"] = _without(frame, anchors)
        found += _outcomes(resolvers, str(number), case.instruction, id_, kinds.items(), detections, expect.id_also)
    return found


def _anchors(words: str, detections: Sequence[Detection]) -> np.ndarray | None:
    """Masks of all objects that the anchor of the first relation may name."""
    try:
        relations = understood(words)[0].target.relations
    except SpatialVlmError:
        return None
    if not relations:
        return None
    fits = label_match(relations[0].anchors[:1], detections)[0] >= ResolverConfig().decision.found
    masks = [one.mask for one, fit in zip(detections, fits, strict=True) if fit and one.mask is not None]
    return np.any(masks, axis=0) if masks else None


def risks(outcomes: Sequence[FusedOutcome]) -> np.ndarray:
    """Share of wrong answers among the first 1, 2, ... answers by falling confidence."""
    answered = sorted((one for one in outcomes if one.outcome in ("right", "wrong")), key=lambda one: -one.confidence)
    wrong = np.cumsum([one.outcome == "wrong" for one in answered])
    return np.asarray(wrong / np.arange(1, len(answered) + 1))


def area(outcomes: Sequence[FusedOutcome]) -> float:
    """Mean risk over coverage; source: El-Yaniv and Wiener, JMLR 2010."""
    return float(risks(outcomes).mean()) if len(risks(outcomes)) else 0.0


def curve(outcomes: Sequence[FusedOutcome]) -> list[tuple[float, float]]:
    """Coverage (answers, of all questions) and risk at every tenth of the coverage that is reached, and at its end."""
    found = risks(outcomes)
    at = sorted({math.ceil(len(found) * tenth / 10) for tenth in range(1, 11)} - {0})
    return [(round(n / len(outcomes), 4), round(float(found[n - 1]), 4)) for n in at]


def main() -> int:
    """Measure and write benchmarks/results/fusing.json, fusing_raised.json or fusing_on_frames.json."""
    given = arguments(__doc__, seeds=100, first_seed=FIRST_SEED, processes=4, raised=False, frames=Path)
    seeds = range(given.first_seed, given.first_seed + given.seeds)
    if given.frames:
        outcomes = folder(given.frames)
    else:
        with ProcessPoolExecutor(given.processes) as pool:
            outcomes = [
                one for found in pool.map(one_raised_seed if given.raised else one_seed, seeds) for one in found
            ]
    groups: dict[tuple[str, str], list[FusedOutcome]] = defaultdict(list)
    for one in outcomes:
        groups[one.depth, one.rival].append(one)
    figures, more = {}, 0
    for (depth, rival), group in groups.items():
        figures[f"{depth}, {rival}"] = {
            "right": share([one.outcome == "right" for one in group if one.answerable]),
            "wrong": share([one.outcome == "wrong" for one in group]),
            "area": area(group),
            "curve": curve(group),
        }
        if rival == "fused":
            before = {one.question: one.outcome for one in groups[depth, "measurement"]}
            more += sum(one.outcome == "wrong" and before[one.question] != "wrong" for one in group)
    kind = "raised worlds" if given.raised else "settled tabletops"
    source = f"cases of {given.frames.name}" if given.frames else f"relations in {kind}"
    claim = Claim("answers that fusing made wrong", more, 0, "answers")
    seeds_of = {} if given.frames else {"first_seed": given.first_seed, "seeds": given.seeds}
    name = "fusing_on_frames" if given.frames else "fusing_raised" if given.raised else "fusing"
    return finish(name, {"source": source, **seeds_of, "figures": figures}, [claim])


if __name__ == "__main__":
    raise SystemExit(main())
