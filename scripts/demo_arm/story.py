# SPDX-License-Identifier: Apache-2.0
"""Record the course of the demo: print it to the terminal as it happens, and keep it for the page."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spatial_vlm_ros.manipulation.approval.address import address_in

STAGES = {1: "RESOLVING", 2: "BUILDING_GOAL", 3: "PLANNING", 4: "WAITING_FOR_APPROVAL", 5: "LOOKING_AGAIN", 6: "MOVING"}
AGAIN, MOVING = 5, 6
MOST_FORCE = 5.0  # N on anything but the picked object and its support


@dataclass(frozen=True)
class Line:
    """One event: seconds since the start, its name, and a text."""

    at: float
    name: str
    words: str


class Story:
    """The demo's timeline.

    Args:
        audit: file of the gate's record.
        by_hand: whether a person approves.
        clock: wall time, seconds.
    """

    def __init__(self, audit: Path, by_hand: bool, clock: Callable[[], float] = time.monotonic) -> None:
        self.person: Any = None
        self.by_hand = by_hand
        self.lines: list[Line] = []
        self.questions: list[tuple[str, str]] = []
        self.proposal: Any = None
        self.result: Any = None
        self.verdict: dict[str, Any] = {}
        self.phases: list[dict[str, Any]] = []  # phases of the plan: name and duration in s
        self.preview: dict[str, Any] = {}
        self.shown: dict[str, Any] = {}  # everything that was shown to the person
        self.images: dict[str, Any] = {}
        self.second: dict[str, Any] | None = None  # the result of the recheck
        self.begun = clock()
        self.filming = False
        self._audit, self._clock = audit, clock
        self._stage = 0

    def say(self, name: str, words: str) -> None:
        """Print and store a line."""
        line = Line(self._clock() - self.begun, name, words)
        self.lines.append(line)
        print(f"[{line.at:5.1f} s]  {name:<21}{words}", flush=True)

    def ask(self, words: str, dialogue_id: str) -> None:
        """The person says something."""
        self._stage = 0
        self.say("ASKED", f'"{words}"{" (in answer)" * bool(dialogue_id)}')

    def asked_back(self, words: str, question: str) -> None:
        """The resolver has a question."""
        self.questions.append((words, question))
        self.say("QUESTION", question)

    def stage(self, number: int, words: str) -> None:
        """Record a stage; the film starts with the recheck."""
        self._stage = number
        self.filming = number >= AGAIN
        self.say(STAGES.get(number, str(number)), words)

    def motion(self, motion: Any) -> None:
        """Record that a controller has started or ended a motion."""
        if motion.ended is None:
            self.say("", self.name_of(motion))
        elif motion.end != "succeeded":
            self.say("", f"{self.name_of(motion)}: {motion.end}")

    def proposed(self, proposal: Any) -> None:
        """Record that a plan waits for approval, and show the person the facts."""
        self.proposal = proposal
        stamp = proposal.scene_stamp.sec * 1_000_000_000 + proposal.scene_stamp.nanosec
        with contextlib.suppress(SystemExit):  # the page does without an image that was lost on its way
            self.person.wait(lambda: stamp in self.person.annotated, "the image of the proposal", 10.0)
            self.images["decided"] = self.person.annotated[stamp]
        proposals = [line for line in self.record() if line["event"] == "PROPOSED"]
        self.shown = proposals[-1]["content"]
        self.preview = self.shown["preview"] or {}
        self.phases = self.preview.get("phases", [])
        where = proposal.target.pose.pose.position
        print("\n           May the arm move?")
        rows = [("said", proposal.instruction), ("understood", self.shown["answer"]), ("", self.shown["seen_from"])]
        rows += [("warning", warning) for warning in self.shown["warnings"]]
        rows += [("may be meant", told_candidate(candidate)) for candidate in self.shown["candidates"]]
        rows.append(("where", f"({where.x:.3f}, {where.y:.3f}, {where.z:.3f}) m in {proposal.header.frame_id}"))
        planned = sum(phase["duration"] for phase in self.phases)
        rows.append(("motion", f"{proposal.motion}; {len(self.phases)} phases, {planned:.1f} s"))
        rows.append(("plan", f"{proposal.plan_hash[:16]}..., valid for {proposal.valid_for.sec} s"))
        for name, words in rows:
            print(f"           {name:<13}{words}")
        print(flush=True)

    def _looked(self) -> None:
        """Keep the images of the finished recheck."""
        if self.proposal is None:
            return
        stamp = self.proposal.scene_stamp.sec * 1_000_000_000 + self.proposal.scene_stamp.nanosec
        later = [answer for answer in self.person.answers if answer["stamp_ns"] > stamp]
        if later:
            self.second = later[-1]
            image = self.person.annotated.get(self.second["stamp_ns"])
            if image is not None:
                self.images["second"] = image

    def ended(self, result: Any) -> None:
        """Record the end of the goal."""
        self.result = result
        self.say(result.status.name, result.status.message)
        self._looked()

    def judged(self, verdict: dict[str, Any]) -> None:
        """Record the physics verdict."""
        self.verdict = verdict
        self.say("JUDGE", f"{self._lies()}; moved: {', '.join(verdict['moved']) or 'nothing'}")
        forces = ", ".join(f"{name} {force:.2f} N" for name, force in others(verdict).items())
        self.say("", f"greatest contact forces on neighbours: {forces or 'none was touched'}")

    def final(self, image: Any) -> None:
        """Record the last image."""
        self.filming = False
        self.images["end"] = image

    # -------------------------------------------------------------------------------------------- what is known

    def caption(self) -> str:
        """Caption of an image at this moment."""
        now = f"{self.person.pictured:6.1f} s"
        motions = self.person.motions
        if self._stage != MOVING or not motions:
            return f"{now}  {STAGES.get(self._stage, '').replace('_', ' ').lower()}"
        if self.verdict:
            return f"{now}  physics says: {self._lies()}"
        return f"{now}  {self.name_of(motions[-1])}"

    def _lies(self) -> str:
        where = "lies" if self.verdict["done"] else "does not lie"
        return f"{self.verdict['target']} {where} on the {self.verdict['tray']}"

    def motions_of(self) -> list[Any]:
        """Match each phase of the plan with the motion of a controller, or None; further motions come at the end.

        The gripper moves in phases without a trajectory. Arm and gripper are counted separately, because messages of
        two topics may arrive in any order.
        """
        left = {who: [m for m in self.person.motions if m.who == who] for who in ("arm", "gripper")}
        kinds = ["arm" if phase["duration"] > 0 else "gripper" for phase in self.phases]
        found = [left[kind].pop(0) if left[kind] else None for kind in kinds]
        return found + left["arm"] + left["gripper"]

    def name_of(self, motion: Any) -> str:
        """The plan's name of a motion, with its number; the controller's name if it is not in the plan."""
        number = self.motions_of().index(motion)
        if number < len(self.phases):
            return f"{number + 1} of {len(self.phases)}: {self.phases[number]['name']}"
        return str(motion.who)

    def record(self) -> list[dict[str, Any]]:
        """The lines of the gate's record."""
        text = self._audit.read_text() if self._audit.exists() else ""
        return [json.loads(line) for line in text.splitlines() if line.endswith("}")]

    @property
    def audit(self) -> Path:
        """File of the gate's record."""
        return self._audit

    @property
    def resolution(self) -> dict[str, Any]:
        """The answer that the plan is based on."""
        return dict(json.loads(self.result.resolution.json)) if self.result is not None else {}

    def shift(self) -> float | None:
        """Displacement of the target found by the recheck, metres."""
        first, second = self.resolution.get("target"), (self.second or {}).get("target")
        if not first or not second:
            return None
        return math.dist(first["pose"]["position"], second["pose"]["position"])


def page_address(log: Path) -> str | None:
    """Address of the page with its token; None until the gate's whole line is in the log."""
    told = [address_in(line.rstrip("\n")) for line in log.read_text().splitlines(keepends=True) if line.endswith("\n")]
    return next((where.link() for where in told if where is not None), None)


def told_candidate(candidate: dict[str, Any]) -> str:
    """A candidate in one line: probability, and each clause with its margin."""
    clauses = [
        f"{clause['relation']} {', '.join(clause['anchor_ids'])} "
        + (f"by {clause['margin_m']:+.3f} m" if isinstance(clause["margin_m"], (int, float)) else "")
        for clause in candidate["clauses"]
    ]
    return f"{candidate['label']} ({candidate['id']}) {candidate['probability']:.1%}; {'; '.join(clauses)}".rstrip("; ")


def others(verdict: dict[str, Any]) -> dict[str, float]:
    """Contact forces on everything except the target, the tray and the table, newtons."""
    spared = (verdict["target"], verdict["tray"], "table")
    return {name: force for name, force in verdict["forces_n"].items() if name not in spared}


def checks(story: Story) -> list[tuple[str, bool, str]]:
    """Final checks: text, whether it holds, and the measured value."""
    verdict, result = story.verdict, story.result
    strongest = max(others(verdict).values(), default=0.0)
    moved = ", ".join(verdict["moved"]) or "nothing"
    return [
        ("the gate reports OK", result.status.name == "OK", result.status.name),
        ("the target lies on the tray, let go and at rest", verdict["done"], verdict["target"]),
        ("nothing else was moved", verdict["moved"] == [verdict["target"]], f"moved: {moved}"),
        (f"neighbours were touched with at most {MOST_FORCE:g} N", strongest <= MOST_FORCE, f"{strongest:.2f} N"),
    ]


def judged_well(story: Story) -> bool:
    """Whether all checks hold."""
    return all(held for _, held, _ in checks(story))
