# SPDX-License-Identifier: Apache-2.0
"""Converts proposals, questions and decisions to JSON values for the record."""

from __future__ import annotations

import dataclasses
import hashlib
import math
from collections.abc import Callable
from typing import Any

from spatial_vlm_ros.manipulation.approval.proposal import Decision, PersonQuestion, Proposal

_RECORDED_AS = {"image": "picture"}
"""Fields that have another name in the record, because other programs read it."""


def named(decision: Decision) -> dict[str, Any]:
    """The goal, image and plan that a decision names, and its operator."""
    return {
        "goal_id": decision.goal_id,
        "scene_stamp_ns": decision.scene_stamp_ns,
        "plan_hash": decision.plan_hash,
        "operator": decision.operator,
    }


def content_of(item: Proposal | PersonQuestion, keep: Callable[[bytes], str] | None = None) -> dict[str, Any]:
    """All fields of an item, with images, motion and plan replaced by their hashes or file names.

    Args:
        keep: stores such bytes and returns the name of their file (`AuditLog.keep`); None = they are not stored.
    """

    def plain(value: Any) -> Any:
        if isinstance(value, bytes):
            kept = {} if keep is None else {"file": keep(value)}
            return {"sha256": hashlib.sha256(value).hexdigest(), "bytes": len(value), **kept}
        if isinstance(value, float) and not math.isfinite(value):
            return str(value)  # JSON does not have this number
        if isinstance(value, dict):
            return {_RECORDED_AS.get(key, key): plain(part) for key, part in value.items()}
        if isinstance(value, (tuple, list)):
            return [plain(part) for part in value]
        return value

    return plain(dataclasses.asdict(item))
