# SPDX-License-Identifier: Apache-2.0
"""Print the course of the demo to the terminal as it happens, and check how it ended."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

from spatial_vlm_ros.manipulation.approval.address import address_in

STAGES = {1: "RESOLVING", 2: "BUILDING_GOAL", 3: "PLANNING", 4: "WAITING_FOR_APPROVAL", 5: "LOOKING_AGAIN", 6: "MOVING"}
MOST_FORCE = 5.0  # N on anything but the picked object and its support


class Story:
    """The demo's timeline.

    Args:
        audit: file of the gate's record.
    """

    def __init__(self, audit: Path) -> None:
        self.begun = time.monotonic()
        self.motions: list[Any] = []
        self._phases: list[dict[str, Any]] = []  # phases of the plan: name and duration in s
        self._audit = audit

    def say(self, name: str, words: str) -> None:
        """Print a line."""
        print(f"[{time.monotonic() - self.begun:5.1f} s]  {name:<21}{words}", flush=True)

    def stage(self, number: int, words: str) -> None:
        """Print a stage."""
        self.say(STAGES.get(number, str(number)), words)

    def motion(self, motion: Any) -> None:
        """Print that a controller has started a motion, or ended it otherwise than well."""
        if motion.ended is None:
            self.motions.append(motion)
            self.say("", self._name_of(motion))
        elif motion.end != "succeeded":
            self.say("", f"{self._name_of(motion)}: {motion.end}")

    def proposed(self, proposal: Any) -> None:
        """Show the person the facts of a plan that waits for approval."""
        events = [json.loads(line) for line in self._audit.read_text().splitlines() if line.endswith("}")]
        shown = [event for event in events if event["event"] == "PROPOSED"][-1]["content"]
        self._phases = (shown["preview"] or {}).get("phases", [])
        where = proposal.target.pose.pose.position
        print("\n           May the arm move?")
        rows = [("said", proposal.instruction), ("understood", shown["answer"]), ("", shown["seen_from"])]
        rows += [("warning", warning) for warning in shown["warnings"]]
        rows += [("may be meant", told_candidate(candidate)) for candidate in shown["candidates"]]
        rows.append(("where", f"({where.x:.3f}, {where.y:.3f}, {where.z:.3f}) m in {proposal.header.frame_id}"))
        planned = sum(phase["duration"] for phase in self._phases)
        rows.append(("motion", f"{proposal.motion}; {len(self._phases)} phases, {planned:.1f} s"))
        rows.append(("plan", f"{proposal.plan_hash[:16]}..., valid for {proposal.valid_for.sec} s"))
        for name, words in rows:
            print(f"           {name:<13}{words}")
        print(flush=True)

    def judged_well(self, status: str, verdict: dict[str, Any]) -> bool:
        """Print the physics verdict, and whether the status of the goal and everything else are as they should be."""
        lies = "lies" if verdict["done"] else "does not lie"
        moved = ", ".join(verdict["moved"]) or "nothing"
        self.say("JUDGE", f"{verdict['target']} {lies} on the {verdict['tray']}; moved: {moved}")
        spared = (verdict["target"], verdict["tray"], "table")
        forces = {name: force for name, force in verdict["forces_n"].items() if name not in spared}
        felt = ", ".join(f"{name} {force:.2f} N" for name, force in forces.items()) or "none was touched"
        self.say("", f"greatest contact forces on neighbours: {felt}")
        gentle = max(forces.values(), default=0.0) <= MOST_FORCE
        return status == "OK" and verdict["done"] and verdict["moved"] == [verdict["target"]] and gentle

    def _name_of(self, motion: Any) -> str:
        """The plan's name of a motion, with its number; the controller's name if it is not in the plan.

        The gripper moves in phases without a trajectory. Arm and gripper are counted separately, because messages of
        two topics may arrive in any order.
        """
        earlier = [each for each in self.motions if each.who == motion.who].index(motion)
        own = [n for n, phase in enumerate(self._phases, 1) if (phase["duration"] > 0) == (motion.who == "arm")]
        if earlier >= len(own):
            return str(motion.who)
        return f"{own[earlier]} of {len(self._phases)}: {self._phases[own[earlier] - 1]['name']}"


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
