# SPDX-License-Identifier: Apache-2.0
"""A run as JUnit XML, which CI systems show: one test case for each judged case, failures in words.

junitparser is imported when it is needed, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.evaluation.score import CaseResult
from spatial_vlm_ros.printable import printable


def junit_xml(cases: Sequence[CaseResult], seconds: Sequence[float], name: str) -> str:
    """JUnit XML of a run.

    Args:
        cases: the judged cases.
        seconds: for each, how long the answer took.
        name: of the test suite.

    Raises:
        DependencyError: junitparser is not installed.
    """
    try:
        from junitparser import Failure, JUnitXml, TestCase, TestSuite
    except ImportError as error:
        raise DependencyError("junitparser", "pip install junitparser, or apt install python3-junitparser") from error

    suite = TestSuite(_text(name))
    for case, time in zip(cases, seconds, strict=True):
        test = TestCase(_text(case.instruction), _text(case.frame), round(time, 6))
        if not case.complete:
            failure = Failure(_text(_summary(case)), case.status.value)
            failure.text = _text(f"{_summary(case)}\n{case.message}")
            test.result = [failure]
        suite.add_testcase(test)
    report = JUnitXml()
    report.add_testsuite(suite)
    written: bytes = cast("Any", report).tostring()  # the library leaves it without types
    return written.decode("utf-8")


def _summary(case: CaseResult) -> str:
    expected = f"{case.expected_status.value} {case.expected_id or ''}".strip()
    place = f"; the place is {case.place.value}" if case.place and case.as_expected and not case.complete else ""
    return f"expected {expected}, got {case.status.value} {case.id or ''}".strip() + place


def _text(text: str) -> str:
    """What XML cannot hold, and what does not show (labels come from outside), is a question mark."""
    return printable(text, keep="\n")
