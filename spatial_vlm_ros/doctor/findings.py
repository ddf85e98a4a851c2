# SPDX-License-Identifier: Apache-2.0
"""What a check found, and what to do about it."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass

from spatial_vlm_ros.errors import SpatialVlmError


class Severity(str, enum.Enum):
    """Severity of a finding."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True)
class Finding:
    """Result of one check: what was found, and what to do about it ("" = nothing)."""

    check: str
    level: Severity
    found: str
    repair: str = ""

    @property
    def is_error(self) -> bool:
        """Whether it is an error."""
        return self.level is Severity.ERROR


def ok(check: str, found: str) -> Finding:
    """All is well."""
    return Finding(check, Severity.OK, found)


def warn(check: str, found: str, repair: str = "") -> Finding:
    """Something that may be meant so."""
    return Finding(check, Severity.WARNING, found, repair)


def fail(check: str, found: str, repair: str = "") -> Finding:
    """Something that does not work."""
    return Finding(check, Severity.ERROR, found, repair)


def first(*rows: tuple[object, Finding], otherwise: Finding) -> Finding:
    """The finding of the first row whose condition holds."""
    return next((finding for holds, finding in rows if holds), otherwise)


def found_in(check: str, error: SpatialVlmError) -> Finding:
    """Turn an error into a finding; the sentence that says what to do is its repair."""
    message, repair = str(error), str(getattr(error, "repair", "")).strip()
    last = f" {repair.rstrip('.')}."
    if repair and message.lower().endswith(last.lower()):
        message = message[: -len(last)]
    return fail(check, message, repair)


def has_errors(findings: Iterable[Finding]) -> bool:
    """Whether one of them is an error."""
    return any(finding.is_error for finding in findings)
