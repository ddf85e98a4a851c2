# SPDX-License-Identifier: Apache-2.0
"""A run as JUnit XML, which CI systems show: one test case for each judged case, failures in words.

junitparser is imported when it is needed, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from spatial_vlm_lab.scoring.model_run import ModelRun, UnusableCase
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.evaluation.case_result import CaseResult
from spatial_vlm_ros.printable import printable


def junit_xml(cases: Sequence[CaseResult], seconds: Sequence[float], name: str) -> str:
    """JUnit XML of a run.

    Args:
        seconds: for each, how long the answer took.
    """
    return _xml([(name, cases, seconds, ())])


def junit_suites(runs: Sequence[ModelRun], name: str) -> str:
    """JUnit XML of some runs: one test suite for each model. A case that was not judged is an error."""
    several = len(runs) > 1
    return _xml([(f"{name}: {run.name}" if several else name, run.results, run.seconds, run.unusable) for run in runs])


_Suite = tuple[str, Sequence[CaseResult], Sequence[float], Sequence[UnusableCase]]


def _xml(suites: Sequence[_Suite]) -> str:
    try:
        from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite
    except ImportError as error:
        raise DependencyError("junitparser", "pip install junitparser, or apt install python3-junitparser") from error

    report = JUnitXml()
    for name, cases, seconds, unusable in suites:
        suite = TestSuite(_text(name))
        for case, time in zip(cases, seconds, strict=True):
            test = TestCase(_text(case.instruction), _text(case.image), round(time, 6))
            if not case.complete:
                failure = Failure(_text(_summary(case)), case.status.value)
                kind = f" ({case.error.value})" if case.error else ""
                failure.text = _text(f"{_summary(case)}{kind}\n{case.message}")
                test.result = [failure]
            suite.add_testcase(test)
        for left_out in unusable:
            test = TestCase(_text(left_out.instruction), _text(left_out.image), 0.0)
            test.result = [Error(_text(left_out.problem), "not judged")]
            suite.add_testcase(test)
        report.add_testsuite(suite)
    written: bytes = cast("Any", report).tostring()  # the library leaves it without types
    return written.decode("utf-8")


def _summary(case: CaseResult) -> str:
    expected = f"{case.expected_status.value} {case.expected_id or ''}".strip()
    place = f"; the place is {case.place.value}" if case.place and case.as_expected and not case.complete else ""
    return f"expected {expected}, got {case.status.value} {case.id or ''}".strip() + place


def _text(text: str) -> str:
    return printable(text, keep="\n")
