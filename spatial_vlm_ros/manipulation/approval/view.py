# SPDX-License-Identifier: Apache-2.0
"""What a person should see at a moment: a frozen image of the broker, made anew at each change."""

from __future__ import annotations

import dataclasses
import enum
from dataclasses import dataclass

from spatial_vlm_ros.manipulation.approval.proposal import PersonQuestion, Proposal


class ApprovalStage(enum.Enum):
    """Where the broker stands; the value is said to a person."""

    IDLE = "Nothing is waiting for you"
    ASKED = "A question is waiting for your answer"
    PROPOSED = "A plan is waiting for your decision"
    APPROVED = "Approved, not started yet"
    RUNNING = "The approved plan is being executed"
    EXPIRED = "Expired: a decision is no longer possible"
    PLANNED = "Plan only: nothing will move"


@dataclass(frozen=True)
class View:
    """The broker at a moment.

    Args:
        stage: where it stands.
        item: what is open, or None.
        words: how it came to this, for a person; may be empty.
        deadline: monotonic seconds at which `item` expires; None where nothing does.
        version: grows with each change.
        stopping: a stop was requested while it runs.
        remaining: seconds until the deadline; None where there is none.
        fault: why some of what happened is missing in the record; empty where nothing is.
        plan_only: a plan that is shown and cannot be approved: it is not open. Set in the stage PLANNED.
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
        """What the page shows: what is open, or a plan that is only shown."""
        return self.item if self.item is not None else self.plan_only

    @property
    def id(self) -> str | None:
        """Goal id or dialogue id of what is open."""
        if isinstance(self.item, Proposal):
            return self.item.goal_id
        return None if self.item is None else self.item.dialogue_id

    @property
    def mark(self) -> str:
        """Differs whenever a person should look again."""
        return f"{self.version}-{self.stage.name}"

    def at(self, now: float) -> View:
        """The same at `now`, monotonic seconds: what is past its deadline shows as expired, whoever has noticed."""
        if self.deadline is None or self.item is None:
            return self
        remaining = max(0.0, self.deadline - now)
        stage = self.stage if remaining else ApprovalStage.EXPIRED
        return dataclasses.replace(self, stage=stage, remaining=remaining)
