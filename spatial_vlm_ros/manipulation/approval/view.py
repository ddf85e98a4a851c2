# SPDX-License-Identifier: Apache-2.0
"""What a person should see now: a frozen snapshot of the broker, made at each change."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from spatial_vlm_ros.manipulation.approval.proposal import PersonQuestion, Proposal


class ApprovalStage(enum.Enum):
    """State of the broker; the value is shown to a person."""

    IDLE = "Nothing is waiting for you"
    ASKED = "A question is waiting for your answer"
    PROPOSED = "A plan is waiting for your decision"
    APPROVED = "Approved, not started yet"
    RUNNING = "The approved plan is being executed"
    EXPIRED = "Expired: a decision is no longer possible"
    PLANNED = "Plan only: nothing will move"


@dataclass(frozen=True)
class View:
    """Snapshot of the broker.

    Args:
        item: the open proposal or question, or None.
        words: text about how this state came about; may be empty.
        deadline: monotonic seconds at which `item` expires; None without a deadline.
        stopping: whether a stop was requested during the execution.
        remaining: seconds until the deadline; None without one.
        fault: why events are missing in the record; "" if none are.
        plan_only: a plan that is shown but not open for approval. Set in the stage PLANNED.
    """

    stage: ApprovalStage
    item: Proposal | PersonQuestion | None = None
    words: str = ""
    deadline: float | None = None
    version: int = 0
    stopping: bool = False
    remaining: float | None = None
    fault: str = ""
    plan_only: Proposal | None = None

    @property
    def on_page(self) -> Proposal | PersonQuestion | None:
        """Item that the page shows: the open one, or a plan that is only shown."""
        return self.item if self.item is not None else self.plan_only

    @property
    def id(self) -> str | None:
        """Goal id or dialogue id of the open item."""
        if isinstance(self.item, Proposal):
            return self.item.goal_id
        return None if self.item is None else self.item.dialogue_id

    @property
    def mark(self) -> str:
        """Value that changes whenever a person should look again."""
        return f"{self.version}-{self.stage.name}"

    def at(self, now: float) -> View:
        """The view at `now`, monotonic seconds; an item past its deadline shows as expired."""
        if self.deadline is None or self.item is None:
            return self
        remaining = max(0.0, self.deadline - now)
        stage = self.stage if remaining else ApprovalStage.EXPIRED
        return dataclasses.replace(self, stage=stage, remaining=remaining)
