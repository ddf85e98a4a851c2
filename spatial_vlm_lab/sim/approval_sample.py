# SPDX-License-Identifier: Apache-2.0
"""A sample for people to look at the page: a drawn scene, really resolved; no robot, no planner, nothing moves."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import hashlib
import sys
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path

import cv2

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.manipulation.approval.audit import AuditLog
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
from spatial_vlm_ros.manipulation.approval.page import serve
from spatial_vlm_ros.manipulation.approval.proposal import PersonQuestion, Phase, Preview, Proposal
from spatial_vlm_ros.output.annotated_image import draw
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.resolver import Resolver
from spatial_vlm_ros.sim.examples import chicks_and_cup_frame
from spatial_vlm_ros.types import Resolution

SENTENCE = "the chick"
_WARNING = "This is a sample: the scene is drawn, and no robot is connected."


class ApprovalSample:
    """Asks which chick is meant, proposes to take it, and starts again.

    Args:
        expires_after: seconds after which each question or proposal expires.
        runs: simulated execution time of an approved proposal, seconds.
    """

    def __init__(self, broker: ApprovalBroker, expires_after: float = 120.0, runs: float = 8.0) -> None:
        self._broker, self._expires_after, self._runs = broker, expires_after, runs
        self._frame, self._detections = chicks_and_cup_frame()

    def run(self, stopped: Callable[[], bool]) -> None:
        """Repeat until `stopped` returns True."""
        while not stopped():
            try:
                self.once(stopped)
            except SpatialVlmError:  # a refusal, a stop, or no answer in time: the page has shown it
                self._pause(3.0, stopped)

    def once(self, stopped: Callable[[], bool] = lambda: False) -> None:
        """Make one question, one proposal and one execution; raises the broker's errors."""
        asked = self._resolve(SENTENCE)
        question = PersonQuestion(
            uuid.uuid4().hex,
            SENTENCE,
            asked.question or asked.message,
            tuple(answer.text for answer in asked.answers),
            self._expires_after,
            self._image(asked),
            tuple(", ".join(answer.ids) for answer in asked.answers),
        )
        self._broker.ask(question)
        answer = self._broker.wait_answer(question.dialogue_id, stopped)
        resolution = self._resolve(answer.text, (SENTENCE,))
        if resolution.target is None:
            return
        proposal = self._proposal(resolution)
        self._broker.propose(proposal)
        decision = self._broker.wait(proposal.goal_id, stopped)
        if decision.approve:
            self._broker.begin(decision)
            self._pause(self._runs, lambda: stopped() or self._broker.view.stopping)
            outcome = "stopped as requested" if self._broker.view.stopping else "this is a sample: nothing moved"
            self._broker.end(proposal.goal_id, outcome)
        self._pause(3.0, stopped)

    def _proposal(self, resolution: Resolution) -> Proposal:
        target = resolution.target
        assert target is not None  # noqa: S101
        x, y, z = target.pose.position
        goal_id = str(uuid.uuid4())
        plan_hash = hashlib.sha256(goal_id.encode()).hexdigest()
        frame = resolution.frame_of_reference
        return Proposal(
            goal_id,
            resolution.stamp_ns,
            plan_hash,
            SENTENCE,
            resolution.message,
            f"the {frame.value}" if frame is not None else "no frame: no side matters",
            target.id,
            target.label,
            self._expires_after,
            resolution.candidates,
            (_WARNING,),
            self._image(resolution),
            Preview(
                target.pose.frame_id,
                (Phase("approach", 2.4), Phase("grasp", 1.1), Phase("lift", 1.6)),
                min(target.size[:2]),
                ((x - 0.3, y, z + 0.3), (x, y, z + 0.12), (x, y, z), (x, y, z + 0.2)),
                plan_hash=plan_hash,
                missing="the sample has none",
            ),
            answered=resolution.instruction,
            image_instruction=resolution.instruction,
            image_stamp_ns=resolution.stamp_ns,
        )

    def _resolve(self, words: str, follows: tuple[str, ...] = ()) -> Resolution:
        frame = dataclasses.replace(self._frame, stamp_ns=time.time_ns())
        return Resolver().resolve(frame, words, self._detections, follows=follows)

    def _image(self, resolution: Resolution) -> bytes:
        drawn = draw(self._frame, self._detections, resolution)
        return cv2.imencode(".png", cv2.cvtColor(drawn, cv2.COLOR_RGB2BGR))[1].tobytes()

    @staticmethod
    def _pause(seconds: float, over: Callable[[], bool]) -> None:
        ends = time.monotonic() + seconds
        while time.monotonic() < ends and not over():
            time.sleep(0.05)


def main(arguments: list[str] | None = None) -> int:
    """Serve the sample until interrupted; returns 0, or 1 if it cannot be served."""
    parser = argparse.ArgumentParser(prog="python -m spatial_vlm_lab.sim.approval_sample", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0 = a free one")
    port = parser.parse_args(arguments).port
    with tempfile.TemporaryDirectory() as folder, AuditLog(Path(folder) / "audit.jsonl") as audit:
        broker = ApprovalBroker(audit)
        try:
            with serve(broker, port=port) as page, contextlib.suppress(KeyboardInterrupt):
                told = f"A sample without a robot: {page.url}\nAudit log: {audit.path}\n"
                sys.stdout.write(printable(told, keep="\n"))
                sys.stdout.flush()
                ApprovalSample(broker).run(lambda: False)
        except SpatialVlmError as error:
            sys.stderr.write(f"{printable(error)}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
