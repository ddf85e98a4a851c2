# SPDX-License-Identifier: Apache-2.0
"""Models for tests of the worker process and of referring. Not a test: imported by the worker by its dotted name."""

import ctypes
import dataclasses
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from spatial_vlm_ros.errors import InputError, ModelError, ModelTimeoutError, UnfamiliarImageError
from spatial_vlm_ros.perception.coordinates import NamedObject
from spatial_vlm_ros.perception.grounder import Grounding
from spatial_vlm_ros.perception.imported_detections import GivenDetections
from spatial_vlm_ros.perception.judging import RelationQuestion
from spatial_vlm_ros.types import Detection, Mask, NounPhrase, Rgb


def look(rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
    """One object for each phrase, made of all that came in, so that a bit that changed on the way shows."""
    height, width = rgb.shape[:2]
    detections = []
    for n, phrase in enumerate(phrases):
        mask = rgb[..., n % 3] > 127
        box = (n / 3, 0.1, width - 1 / 7, float(height))
        seen = mask if n % 2 == 0 and mask.any() else None
        detections.append(Detection(f"{n}", repr(phrase)[:1000], 1 / (n + 1), box, seen, ("red", str(int(rgb.sum())))))
    match = np.linspace(0, 1, len(phrases) ** 2).reshape(len(phrases), -1) / 3
    return Grounding(tuple(detections), match, ("1 of 3 items was left out: größer", ""))


class Obedient:
    """Does what the first phrase's noun says, with its attributes as arguments; else it looks."""

    def __init__(self, greeting: str = "") -> None:
        if greeting == "wrong":
            raise InputError("greeting", greeting, "a kind word", "choose another")
        self.greeting = greeting

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        arguments = phrases[0].attributes
        if (order := getattr(self, "do_" + phrases[0].category, None)) is not None:
            order(*arguments)
        return look(rgb, phrases)

    def do_print(self) -> None:
        print("a model that talks\n" * 5000)  # noqa: T201
        os.write(1, b"\xff\x00 and not through Python\n")

    def do_hang(self, started: str) -> None:
        Path(started).touch()
        time.sleep(600)

    def do_hold(self, started: str) -> None:
        Path(started).touch()
        ctypes.PyDLL(None).sleep(600)  # keeps Python's lock: no other thread runs

    def do_spawn(self, started: str) -> None:
        child = subprocess.Popen(["sleep", "600"])
        Path(started + ".new").write_text(f"{child.pid}")
        Path(started + ".new").rename(started)
        time.sleep(600)

    def do_wait(self, started: str, end: str) -> None:
        Path(started).touch()
        while not Path(end).exists():
            time.sleep(0.002)

    def do_raise(self, kind: str = "value") -> None:
        if kind == "model":
            raise ModelError("weights", "no memory left", "buy some")
        if kind == "timeout":
            raise ModelTimeoutError("weights", "too slow", "buy a faster one")
        raise ValueError("no idea \ud800" + "!" * 100_000)

    def do_crash(self) -> None:
        ctypes.string_at(0)

    def do_exit(self) -> None:
        print("giving up")  # noqa: T201
        sys.exit(7)

    def do_mute(self) -> None:
        socket.socket(fileno=int(sys.argv[1])).shutdown(socket.SHUT_RDWR)
        time.sleep(600)

    def do_say(self, hexadecimal: str) -> None:
        os.write(int(sys.argv[1]), bytes.fromhex(hexadecimal))


def chicks() -> GivenDetections:
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame  # the other models start faster without it

    return GivenDetections(chicks_and_cup_frame()[1])


def unloadable() -> Obedient:
    print("reading weights")  # noqa: T201
    raise OSError("no such file: weights.bin")


def slow(started: str) -> Obedient:
    Path(started).touch()
    time.sleep(600)
    return Obedient()


def patient(started: str, end: str) -> Obedient:
    model = Obedient()
    model.do_wait(started, end)
    return model


def nothing() -> None:
    return None


class Simulated:
    domain = "simulated"

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        if not rgb.any():
            raise UnfamiliarImageError("simulated", 3.25, 1.5)
        return look(rgb, phrases)


class Judging(Obedient):
    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float | None, ...]:
        assert rgb.ndim == 3
        assert budget_s == 5.0
        return tuple({"left of": 0.25, "behind": None, "under": 7.0}.get(one.relation, 1.0) for one in questions)


class Blind(Obedient):
    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        return choices[0]


class SimulatedJudge(Obedient):
    domain = "simulated"

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float, ...]:  # noqa: ARG002
        return (0.001,) * len(questions)


class Budgeted(Obedient):
    """Has the seconds that it is given, as a probability: 0.01 for each."""

    def judge(self, rgb: Rgb, questions: Sequence[RelationQuestion], budget_s: float) -> tuple[float, ...]:  # noqa: ARG002
        return (budget_s / 100,) * len(questions)


class Choosing:
    def __init__(self) -> None:
        self._chicks = chicks()

    def ground(self, rgb: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        return self._chicks.ground(rgb, phrases)

    def answer(self, rgb: Rgb, question: str, choices: Sequence[str]) -> str:  # noqa: ARG002
        return "behind" if "behind" in choices else choices[0]


class Scoring(Choosing):
    def scores(self, rgb: Rgb, question: str, choices: Sequence[str]) -> list[float]:  # noqa: ARG002
        return [0.0 if one == "behind" else -2.0 for one in choices]


class Mute:
    def ground(self, _: Rgb, phrases: Sequence[NounPhrase]) -> Grounding:
        return Grounding((), np.zeros((len(phrases), 0)))


class Echoing(Mute):
    """Refers with numbers made of all that came in, so that a bit that changed on the way shows."""

    def refer(self, rgb: Rgb, words: str) -> tuple[NamedObject, ...]:
        if words == "nothing":
            return ()
        total = float(rgb.astype(np.int64).sum())
        box = NamedObject(words, (0.1, 1 / 3, total / 7, float(rgb.shape[0])), None, None)
        return (box, NamedObject("", None, (total / 3, float(len(words))), 1 / 3))


class Pointing(GivenDetections):
    def __init__(self, detections: Sequence[Detection]) -> None:
        super().__init__(detections)
        self.box = next(d.box_xyxy for d in detections if d.id == "bonnet")

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:
        return (NamedObject(words, self.box, None, None),)


class Masking(GivenDetections):
    """Refers to one place, and gives each object one mask, or fails with what it was given for one."""

    def __init__(
        self, mask: Mask | Exception | None, place: NamedObject | None = None, detections: Sequence[Detection] = ()
    ) -> None:
        super().__init__(detections)
        self.mask, self.places = mask, (place,) if place else ()

    def refer(self, _: Rgb, words: str) -> tuple[NamedObject, ...]:  # noqa: ARG002
        return self.places

    def masked(self, _: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        if isinstance(self.mask, Exception):
            raise self.mask
        return tuple(dataclasses.replace(one, mask=self.mask) for one in detections)


class Cutting(Pointing):
    def __init__(self, detections: Sequence[Detection], part: str = "whole") -> None:
        super().__init__(detections)
        self.part = part

    def masked(self, rgb: Rgb, detections: Sequence[Detection]) -> tuple[Detection, ...]:
        if self.part == "fails":
            raise ModelError("masks", "no memory left", "buy some")
        made = []
        for one in detections:
            x0, y0, x1, y1 = (int(v) for v in one.box_xyxy)
            mask = np.zeros(rgb.shape[:2], np.bool_)
            if self.part == "elsewhere":
                mask[:5, :5] = True
            else:
                mask[y0 : y1 + 1, x0 : x1 + 1] = True
            made.append(dataclasses.replace(one, mask=mask))
        return tuple(made)


def cutting(part: str = "whole") -> Cutting:
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

    return Cutting(chicks_and_cup_frame()[1], part)


def pointing() -> Pointing:
    from spatial_vlm_ros.sim.examples import chicks_and_cup_frame

    return Pointing(chicks_and_cup_frame()[1])
