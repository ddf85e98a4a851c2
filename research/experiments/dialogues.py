# SPDX-License-Identifier: Apache-2.0
"""Claim: a question of the resolver takes every answer that it offers, and yes, no and "the other one" after it.

    python -m research.experiments.dialogues --frames DIR [--frames DIR ...] [--tables N] [--constructed N] [--verbose]

Each DIR is a folder of frames with cases (docs/evaluation.md); `--tables` counts random tables and `--constructed`
scenes of `research/constructed`. On every scene the sentences of its cases are said, and sentences about each repeated
name, a misspelt name and a place by a repeated name. Where one raises a question, a simulated person who means one
object holds these dialogues, once for every object that the question may be about:

    straight    the offered answer that fits, on to the last question, with "yes" and "no" where they are offered
    yes after   then "yes": the same object
    other       the answer that fits another object, then "no, the other one" and whatever is asked after that
    denied      the same with "no", "that is wrong", "not that one"
    astray      "yes" to a question for which one, "the other one" before any was named: asked again, then answered
    neither     "neither" to the offered ones: none of them comes back

A dialogue ends right with the pose of the object that is meant (neither: without a pose of an offered one). A pose is
wrong where the words so far exclude its object: it was denied, or is not what the answer named, or not what was meant.
The offered answers are checked against the truth where there is one: "the left one" is the leftmost by true centres.
"""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.harness import Claim, arguments, finish, table
from benchmarks.scenes import random_tabletop
from research.experiments import RESULTS
from spatial_vlm_ros import Resolver, load_frame
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language.words import plural
from spatial_vlm_ros.recording.cases import load_cases
from spatial_vlm_ros.resolver import ObservedFrame
from spatial_vlm_ros.sim.tabletop import look_at, noisy, render
from spatial_vlm_ros.types import Detection, PinholeCamera, Resolution, Status
from spatial_vlm_ros.types.proportions import wilson

_MOST_TURNS = 12  # beyond the number of candidates
_MOST_MEANT = 6  # objects of one question that a person may mean
_CLEAR = 0.015  # metres by which true centres have to differ
_DENIALS = ("no", "that is wrong", "not that one", "no, that's not it")
_OTHERS = ("no, the other one", "the other one", "another one")
_SETTLED = (Status.OCCLUDED, Status.DEPTH_INVALID, Status.NO_PLACE)
"""Refusals that name the object that is meant, and say why there is no pose or place."""
_AXES: Mapping[str, tuple[int, float]] = {
    "left": (0, -1.0), "leftmost": (0, -1.0), "right": (0, 1.0), "rightmost": (0, 1.0), "upper": (2, 1.0),
    "highest": (2, 1.0), "lower": (2, -1.0), "lowest": (2, -1.0), "nearer": (1, -1.0), "nearest": (1, -1.0),
    "farther": (1, 1.0), "farthest": (1, 1.0),
}  # fmt: skip
"""Word of an answer → axis (bearing, distance, height) and sign of what is first."""

Points = Mapping[str, tuple[float, float, float]]


@dataclass(frozen=True, eq=False)
class Setting:
    """A scene and what is said of it.

    Args:
        where: for reports.
        group: "real_rgbd", "outside", "tables" or "constructed".
        observed: the frame.
        sentences: (words, id of the object that is meant or None).
        centres: id → (bearing from the camera, as metres at the mean distance; distance; height) in metres; empty where
            the truth is not known.
    """

    where: str
    group: str
    observed: ObservedFrame
    sentences: tuple[tuple[str, str | None], ...]
    centres: Points = field(default_factory=dict)


@dataclass(frozen=True)
class Ended:
    """How one dialogue ended.

    Args:
        group, kind: where, and which of the dialogues above.
        question: kind of the question it began with: "which", "whether", "name", "whose" or "open".
        right: whether with the pose of the object that was meant.
        wrong: whether a pose was given that the words exclude.
        turns: answers given.
        text: the dialogue in words.
    """

    group: str
    kind: str
    question: str
    right: bool
    wrong: bool
    turns: int
    text: str


class Person:
    """Somebody who means one object and talks to the resolver; a dialogue is what was said so far.

    Args:
        setting: the scene.
        first: the instruction.
        meant: id of the object.
    """

    def __init__(self, setting: Setting, first: str, meant: str) -> None:
        self._setting, self.meant = setting, meant
        self.said: list[str] = []
        self.heard: list[str] = []
        self.wrong = False
        self.denied: set[str] = set()
        self.last = self.say(first)

    def say(self, words: str, named: Sequence[str] = ()) -> Resolution:
        """Say something; a pose that was denied or is none of `named` is noted as wrong."""
        self.last = self._setting.observed.ask(words, follows=tuple(self.said)).resolution
        self.said.append(words)
        given = ids_of(self.last)
        ask = f" {self.last.question}" if self.last.question else ""
        self.heard.append(f"{words!r} -> {self.last.status.value} {','.join(given)}{ask}")
        if any(one in self.denied for one in given) or (named and given and not set(given) <= set(named)):
            self.wrong = True
        return self.last

    def lead_on(self, towards: str | None = None) -> bool:
        """Answer questions until an object comes back; whether it is the one meant (or `towards`).

        A wrong object is denied once for each candidate.
        """
        goal = towards or self.meant
        for _ in range(_MOST_TURNS):
            given = ids_of(self.last)
            if given:
                if goal in given:
                    return True
                self.wrong = True
                return False
            if self.last.status in _SETTLED:
                return self.last.candidates[0].id == goal
            answers = self.last.answers
            if self.last.question is None or not answers:
                return False
            if kind_of(self.last) == "name" and all(goal not in answer.ids for answer in answers):
                self.say("yes")  # another object of the sentence was called by a wrong name
                continue
            fitting = next((a for a in answers if goal in a.ids), None)
            if fitting is not None:
                self.say(fitting.text, fitting.ids)
            elif any(not a.ids for a in answers):
                self.denied |= {one for a in answers for one in a.ids}
                self.say(next(a.text for a in answers if not a.ids))
            else:
                self.denied |= {one for a in answers for one in a.ids}
                self.say("neither")
        return False


def ids_of(answer: Resolution) -> tuple[str, ...]:
    """Ids of the objects of an answer."""
    return tuple(t.id for t in answer.targets) or ((answer.target.id,) if answer.target else ())


def kind_of(answer: Resolution) -> str:
    """What sort of question an answer ends with."""
    words = answer.question or ""
    if words.startswith("Did you mean"):
        return "name"
    if words.startswith("Do you mean"):
        return "whether"
    return "whose" if words.startswith("From whose") else "which" if answer.answers else "open"


def dialogues(setting: Setting, first: str, meant: str | None) -> Iterator[Ended]:
    """All dialogues about one instruction; none where it raises no question."""
    asked = setting.observed.ask(first).resolution
    if asked.question is None:
        return
    kind = kind_of(asked)
    offered = [one for answer in asked.answers for one in answer.ids]
    about = list(dict.fromkeys([*offered, *([meant] if meant else []), *(c.id for c in asked.candidates)]))
    if meant is not None and kind == "which" and meant not in offered:
        about.insert(0, meant)
    if kind != "whether" and offered:
        about = list(dict.fromkeys(offered))
    for target in about[:_MOST_MEANT]:
        for name, talk in _TALKS.items():
            person = Person(setting, first, target)
            right = talk(person, about)
            if right is None:
                continue
            text = f"{setting.where} [{name}] meant {target}: " + " | ".join(person.heard)
            yield Ended(setting.group, name, kind, right and not person.wrong, person.wrong, len(person.said) - 1, text)


def _straight(person: Person, _: Sequence[str]) -> bool | None:
    return person.lead_on()


def _yes_after(person: Person, _: Sequence[str]) -> bool | None:
    if not person.lead_on():
        return None  # told by "straight"
    given = ids_of(person.last)
    return None if not given else person.meant in ids_of(person.say("yes", given))


def _after(words: Sequence[str]) -> Callable[[Person, Sequence[str]], bool | None]:
    def talk(person: Person, about: Sequence[str]) -> bool | None:
        together = {one for answer in person.last.answers for one in answer.ids if person.meant in answer.ids}
        other = next((one for one in reversed(about) if one != person.meant and one not in together), None)
        if other is None or not person.lead_on(other):
            return None
        if person.meant in ids_of(person.last):  # several were asked for
            return None
        if person.meant in person.denied or not ids_of(person.last):  # nobody denies what is meant, or what is refused
            return None
        person.denied = {other}
        person.say(words[sum(map(ord, person.meant + person.said[0])) % len(words)])
        return person.lead_on()

    return talk


def _astray(person: Person, _: Sequence[str]) -> bool | None:
    if kind_of(person.last) not in ("which", "open"):
        return None
    for words in ("yes", "the other one"):
        if ids_of(person.say(words)):
            person.wrong = True
            return False
    return person.lead_on()


def _neither(person: Person, _: Sequence[str]) -> bool | None:
    offered = {one for answer in person.last.answers for one in answer.ids}
    if kind_of(person.last) in ("whose", "name") or not offered or person.last.answers[0].text.endswith("ones"):
        return None
    person.denied |= offered
    person.say("no" if kind_of(person.last) == "whether" else "neither of them")
    return not person.wrong and not set(ids_of(person.last)) & offered


_TALKS: Mapping[str, Callable[[Person, Sequence[str]], bool | None]] = {
    "straight": _straight,
    "yes after": _yes_after,
    "other": _after(_OTHERS),
    "denied": _after(_DENIALS),
    "astray": _astray,
    "neither": _neither,
}


def misnamed(setting: Setting, first: str) -> list[str]:
    """Offered answers whose words are not true of their object by the true centres."""
    asked = setting.observed.ask(first).resolution
    single = [a for a in asked.answers if len(a.ids) == 1]
    places = {a.ids[0]: setting.centres[a.ids[0]] for a in single if a.ids[0] in setting.centres}
    if len(places) < 2 or len(places) < len(asked.answers):
        return []
    bad = []
    for answer in single:
        words = answer.text.split()
        word = next((w for w in words if w in _AXES), None)
        if word is None or len(words) != 3:
            continue
        axis, sign = _AXES[word]
        own = sign * places[answer.ids[0]][axis]
        if any(sign * place[axis] > own + _CLEAR for place in places.values()):
            bad.append(f"{setting.where}: {first!r} {asked.question} {answer.text!r} is {answer.ids[0]}")
    return bad


def sentences_about(labels: Sequence[str], rng: np.random.Generator) -> Iterator[str]:
    """Sentences that may raise a question: repeated names, relations that may be unclear, a misspelt name, a place."""
    count = Counter(labels)
    repeated = sorted(label for label, n in count.items() if n > 1)
    single = sorted(label for label, n in count.items() if n == 1)
    for label in repeated[:3]:
        yield f"grab the {label}"
        for other in (str(one) for one in rng.permutation(single)[:2]):
            for word in rng.permutation(["behind", "left of", "near", "next to", "right of", "in front of"])[:3]:
                yield f"take the {label} {word} the {other}"
        if count[label] > 2:
            yield f"pick up the two {plural(label)}"
    for label in single[:2]:
        for other in (str(one) for one in rng.permutation([one for one in count if one != label])[:2]):
            yield f"grab the {label} {rng.choice(['behind', 'left of', 'near'])} the {other}"
        if len(label) > 4:
            yield f"grab the {label[:2]}{label[3]}{label[2]}{label[4:]}"  # two letters swapped
        if repeated:
            yield f"put the {label} next to the {repeated[0]}"


def of_folder(folder: Path, most: int | None) -> Iterator[Setting]:
    """The frames of a folder with the sentences of their cases and more."""
    by_frame: dict[str, list[tuple[str, str | None]]] = defaultdict(list)
    for case in load_cases(folder):
        known = case.expect is not None and case.expect.status is Status.OK
        by_frame[case.frame].append((case.instruction, case.expect.id if known and case.expect else None))
    for name, cases in list(by_frame.items())[:most]:
        frame, detections = load_frame(folder / name)
        rng = np.random.default_rng(len(detections))
        labels = [d.label for d in detections]
        said = dict(cases) | {words: None for words in sentences_about(labels, rng) if words not in dict(cases)}
        path = folder / name / "truth.json"
        centres = _as_seen(json.loads(path.read_text())) if path.is_file() else {}
        yield Setting(name, folder.name, Resolver().look_at(frame, detections), tuple(said.items()), centres)


def _as_seen(truth: Mapping[str, Any]) -> Points:
    """True centres of a frame, as bearing, distance and height."""
    pose = truth.get("base_T_camera")
    matrix = np.array(pose["matrix"] if isinstance(pose, dict) else pose) if pose is not None else None
    objects = truth.get("objects", {})
    if matrix is None or not objects:
        return {}
    return _relative({id_: one["center"] for id_, one in objects.items()}, matrix)


def _relative(centres: Mapping[str, Sequence[float]], base_T_camera: np.ndarray) -> Points:
    ahead = base_T_camera[:3, 2] * (1.0, 1.0, 0.0)
    ahead = ahead / np.linalg.norm(ahead)
    right = np.array([ahead[1], -ahead[0], 0.0])
    found = {}
    for id_, centre in centres.items():
        away = np.asarray(centre, float) - base_T_camera[:3, 3]
        bearing = float(np.arctan2(away @ right, away @ ahead))
        found[id_] = (bearing, float(np.linalg.norm(away)), float(centre[2]))
    mean = float(np.mean([distance for _, distance, _ in found.values()])) if found else 1.0
    return {id_: (bearing * mean, distance, up) for id_, (bearing, distance, up) in found.items()}


def of_tables(n: int, first_seed: int) -> Iterator[Setting]:
    """Random tables with depth noise."""
    camera = PinholeCamera(np.array([[600.0, 0, 319.5], [0, 600, 239.5], [0, 0, 1]]), 640, 480)
    for seed in range(first_seed, first_seed + n):
        rng = np.random.default_rng((17, seed))
        kinds = [str(k) for k in rng.permutation(["cup", "can", "box", "block", "ball", "bowl", "mug"])[: 2 + seed % 3]]
        colours = (("grey",), ("red", "green", "blue"), ("red", "white"))[seed % 3]
        world = random_tabletop(rng, int(rng.integers(3, 9)), labels=kinds, colours=colours)
        eye = (float(rng.uniform(-0.3, 0.3)), float(rng.uniform(-1.1, -0.8)), float(rng.uniform(0.5, 0.9)))
        seen = render(world, camera, look_at(eye, (0.0, 0.0, 0.05)))
        if min(seen.visible_fraction.values()) < 0.5:
            continue
        frame = noisy(seen.frame, rng)
        said = tuple((words, None) for words in sentences_about([d.label for d in seen.detections], rng))
        matrix = look_at(eye, (0.0, 0.0, 0.05)).matrix
        centres = _relative({body.id: body.centre for body in world.bodies}, np.asarray(matrix))
        yield Setting(f"table {seed}", "tables", Resolver().look_at(frame, seen.detections), said, centres)


def of_constructed(n: int, first_seed: int) -> Iterator[Setting]:
    """Scenes built by construction, with stereo noise."""
    from research.constructed.building import build
    from research.constructed.plans import RELATIONS

    names = list(RELATIONS)
    for number in range(n):
        seed, relation = first_seed + number // len(names), names[number % len(names)]
        made = build(seed, relation, "stereo")
        if not made or made[0].settings:
            continue
        detections: tuple[Detection, ...] = made[0].detections
        rng = np.random.default_rng(seed)
        said = tuple((words, None) for words in sentences_about([d.label for d in detections], rng))
        frame = dataclasses.replace(made[0].frame)
        yield Setting(f"{relation} {seed}", "constructed", Resolver().look_at(frame, detections), said)


def main() -> int:
    """Hold the dialogues, print and keep the counts."""
    options = arguments(
        __doc__, frames=[Path], most=int, tables=0, constructed=0, first_seed=0, name="dialogues", verbose=False
    )
    ended: list[Ended] = []
    false_offers: list[str] = []
    questions: Counter[str] = Counter()
    start = time.perf_counter()
    settings: list[Iterator[Setting]] = [of_folder(folder, options.most) for folder in options.frames]
    settings += [of_tables(options.tables, options.first_seed), of_constructed(options.constructed, options.first_seed)]
    for setting in (one for some in settings for one in some):
        for words, meant in setting.sentences:
            try:
                held = list(dialogues(setting, words, meant))
                false_offers += misnamed(setting, words)
            except SpatialVlmError as error:  # a dialogue may never raise
                held = [Ended(setting.group, "raised", "", False, False, 0, f"{setting.where} {words!r}: {error}")]
            if held:
                questions[f"{setting.group} {held[0].question}"] += 1
            ended += held
    report(ended, questions, false_offers, verbose=options.verbose)
    shares = {
        group: {"right": wilson(sum(e.right for e in some), len(some)).__dict__, "wrong": sum(e.wrong for e in some)}
        for group, some in _grouped(ended, "group").items()
    }
    n = max(len(ended), 1)
    claims = [
        Claim("dialogues that end right", 100 * sum(e.right for e in ended) / n, 95, "%", least=True),
        Claim("wrong poses", sum(e.wrong for e in ended), 0, ""),
        Claim("offered answers that the truth contradicts", len(false_offers), 0, ""),
    ]
    kept = {"dialogues": len(ended), "questions": dict(questions), "groups": shares,
            "kinds": {k: [sum(e.right for e in s), len(s)] for k, s in _grouped(ended, "kind").items()},
            "most_turns": max((e.turns for e in ended), default=0),
            "seconds": round(time.perf_counter() - start, 1)}  # fmt: skip
    return finish(options.name, kept, claims, RESULTS)


def report(ended: Sequence[Ended], questions: Mapping[str, int], false_offers: Sequence[str], *, verbose: bool) -> None:
    """Print the counts, and what went wrong."""
    rows = []
    for group, some in _grouped(ended, "group").items():
        for kind, held in _grouped(some, "question").items():
            for name, few in _grouped(held, "kind").items():
                right = sum(e.right for e in few)
                rows.append((group, kind, name, f"{right}/{len(few)}", f"{100 * right / len(few):.1f} %",
                             str(sum(e.wrong for e in few))))  # fmt: skip
    table("dialogues", ("scenes", "question", "dialogue", "ended right", "share", "wrong poses"), rows)
    print("questions:", dict(questions))
    for line in false_offers:
        print("NOT TRUE", line)
    for one in ended:
        if one.wrong or (verbose and not one.right):
            print("WRONG" if one.wrong else "left", one.text)


def _grouped(ended: Sequence[Ended], name: str) -> dict[str, list[Ended]]:
    found: dict[str, list[Ended]] = defaultdict(list)
    for one in ended:
        found[getattr(one, name)].append(one)
    return found


if __name__ == "__main__":
    sys.exit(main())
