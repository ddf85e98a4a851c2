# SPDX-License-Identifier: Apache-2.0
"""What goes on record of a proposal, a question and a decision: plain values that JSON can hold."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

from spatial_vlm_ros.manipulation.approval.proposal import Decision, PersonQuestion, Proposal

_RECORDED_AS = {"image": "picture"}
"""Fields that the record has under another name; it is read by other programs."""


def named(decision: Decision) -> dict[str, Any]:
    """What a decision names, and who."""
    return {
        "goal_id": decision.goal_id,
        "scene_stamp_ns": decision.scene_stamp_ns,
        "plan_hash": decision.plan_hash,
        "operator": decision.operator,
    }


def content_of(item: Proposal | PersonQuestion, keep: Callable[[bytes], str] | None = None) -> dict[str, Any]:
    """All of it, with images, motion and plan as what they can be recognised by.

    Args:
        item: what is laid before a person.
        keep: keeps such bytes and gives the name of their file (`AuditLog.keep`); None = they are not kept.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            kept = {} if keep is None else {"file": keep(value)}
            return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value), **kept}
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON has no such number
        if isinstance(value, dict):
            return {_RECORDED_AS.get(key, key): plain(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(part) for part in value]
        return value

    return plain(dataclasses.asdict(item))
