# SPDX-License-Identifier: Apache-2.0
"""A broker with a record and a clock that tests set, objects to lay on it, and its page with a visitor."""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from approval_visitor import TOKEN, Visitor

from spatial_vlm_ros.manipulation.approval.audit import AuditLog
from spatial_vlm_ros.manipulation.approval.broker import ApprovalBroker
from spatial_vlm_ros.manipulation.approval.page import Page, serve
from spatial_vlm_ros.manipulation.approval.proposal import Decision, PersonQuestion, Phase, Preview, Proposal
from spatial_vlm_ros.types import Candidate, ClauseMeasurement, ClauseState

GREY = cv2.imencode(".png", np.full((48, 64), 120, np.uint8))[1].tobytes()


class Clock:
    """Seconds that pass only when a test says so."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@dataclasses.dataclass
class Office:
    """A broker, its record and its clock."""

    broker: ApprovalBroker
    audit: AuditLog
    clock: Clock
    numbers: Iterator[int] = dataclasses.field(default_factory=lambda: itertools.count(1))

    def proposal(self, **changed: Any) -> Proposal:
        n = next(self.numbers)
        fields: dict[str, Any] = {
            "goal_id": str(uuid.UUID(int=n)),
            "scene_stamp_ns": 1_000_000_000 + n,
            "plan_hash": f"{n:064x}",
            "sentence": "the chick behind the cup",
            "answer": "the chick (d1), behind the cup (d2)",
            "seen_from": "as seen from the camera",
            "target_id": "d1",
            "target_label": "chick",
            "expires_after": 60.0,
            "candidates": (
                Candidate("d1", "chick", 0.95, (ClauseMeasurement("behind", ("d2",), 0.21, ClauseState.HOLDS, 0.99),)),
                Candidate("d3", "chick", 0.05, (ClauseMeasurement("behind", ("d2",), -0.18, ClauseState.FAILS, 0.01),)),
            ),
            "warnings": ("the box stands 3 cm from the way",),
            "image": GREY,
            "preview": Preview(
                "panda_link0",
                (Phase("approach", 2.5), Phase("grasp", 1.0), Phase("lift", 1.5)),
                0.05,
                ((0.3, 0.0, 0.5), (0.5, 0.1, 0.2), (0.5, 0.1, 0.05), (0.5, 0.1, 0.3)),
            ),
        }
        given = fields | changed
        shown = given["preview"]
        if isinstance(shown, Preview) and not shown.plan_hash:  # what is shown is the plan that is proposed
            given["preview"] = dataclasses.replace(shown, plan_hash=given["plan_hash"])
        drawn = {"image_instruction": given["sentence"], "image_stamp_ns": given["scene_stamp_ns"]}
        return Proposal(**(drawn | given))

    def question(self, **changed: Any) -> PersonQuestion:
        asked = {"sentence": "the chick", "text": "Which chick: the bonnet one or the ribbon one?", "image": GREY}
        answers = {"dialogue_id": f"q{next(self.numbers)}", "answers": ("the bonnet one", "the ribbon one")}
        return PersonQuestion(**(asked | answers | changed))

    @staticmethod
    def says(proposal: Proposal, approve: bool = True, operator: str = "Ann", **changed: Any) -> Decision:
        named = {name: getattr(proposal, name) for name in ("goal_id", "scene_stamp_ns", "plan_hash")}
        return Decision(**({**named, "approve": approve, "operator": operator} | changed))

    def proposed(self, **changed: Any) -> Proposal:
        proposal = self.proposal(**changed)
        self.broker.propose(proposal)
        return proposal

    def approved(self, **changed: Any) -> tuple[Proposal, Decision]:
        proposal = self.proposed(**changed)
        self.broker.decide(self.says(proposal))
        return proposal, self.broker.wait(proposal.goal_id)

    def heard(self) -> list[str]:
        """Names of those who request a stop from now on."""
        names: list[str] = []
        self.broker.on_stop(names.append)
        return names

    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.path.read_text("ascii").splitlines()]

    def events(self) -> list[str]:
        return [record["event"] for record in self.records()]


@pytest.fixture
def office(tmp_path: Path) -> Iterator[Office]:
    clock = Clock()
    with AuditLog(tmp_path / "audit.jsonl", clock, lambda: 1_800_000_000.0) as audit:
        yield Office(ApprovalBroker(audit, clock), audit, clock)


@pytest.fixture
def aside() -> Iterator[Callable[[Callable[[], Any]], Callable[[], Any]]]:
    """Runs a function on a thread of its own; what comes back gives its value, or raises what it raised."""
    futures: list[Future[Any]] = []
    pool = ThreadPoolExecutor(16)

    def run(function: Callable[[], Any]) -> Callable[[], Any]:
        futures.append(pool.submit(function))
        return functools.partial(futures[-1].result, 30)

    yield run
    assert not wait(futures, 30).not_done
    pool.shutdown(wait=False)


@pytest.fixture
def page(office: Office) -> Iterator[Page]:
    """The page over HTTP, with the token TOKEN."""
    for package in ("starlette", "uvicorn"):
        pytest.importorskip(package)
    with serve(office.broker, token=TOKEN) as page:
        yield page


@pytest.fixture
def ann(page: Page) -> Visitor:
    return Visitor(page.host, page.port).sign_in(TOKEN)


@pytest.fixture
def stranger(page: Page) -> Visitor:
    return Visitor(page.host, page.port)
