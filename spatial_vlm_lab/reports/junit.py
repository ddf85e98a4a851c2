# SPDX-License-Identifier: Apache-2.0
"""Runs as JUnit XML, which CI systems show: one test case for each judged case, failures in words.

junitparser is imported when it is needed, never before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from spatial_vlm_lab.reports.report import check_installed
from spatial_vlm_lab.reports.sections import ended
from spatial_vlm_lab.scoring.case_result import CaseResult
from spatial_vlm_lab.scoring.outcome import ModelRun
from spatial_vlm_ros.printable import printable


def junit_suites(runs: Sequence[ModelRun], name: str) -> str:
    """JUnit XML of some runs: one test suite for each model. A case that was not judged is an error."""
    check_installed(html=False, junit=True)
    from junitparser import Error, Failure, JUnitXml, TestCase, TestSuite

    report = JUnitXml()
    for run in runs:
        suite = TestSuite(_text(f"{name}: {run.name}" if len(runs) > 1 else name))
        for case, time in zip(run.results, run.seconds, strict=True):
            test = TestCase(_text(case.instruction), _text(case.image), round(time, 6))
            if not case.complete:
                failure = Failure(_text(_summary(case)), case.status.value)
                kind = f" ({case.error.value})" if case.error else ""
                failure.text = _text(f"{_summary(case)}{kind}\n{case.message}")
                test.result = [failure]
            suite.add_testcase(test)
        for left_out in run.unusable:
            test = TestCase(_text(left_out.instruction), _text(left_out.image), 0.0)
            test.result = [Error(_text(left_out.problem), "not judged")]
            suite.add_testcase(test)
        report.add_testsuite(suite)
    written: bytes = cast("Any", report).tostring()  # the library leaves it without types
    return written.decode("utf-8")


def _summary(case: CaseResult) -> str:
    place = f"; the place is {case.place.value}" if case.place and case.as_expected and not case.complete else ""
    return f"expected {ended(case.expected_status, case.expected_id)}, got {ended(case.status, case.id)}{place}"


def _text(text: str) -> str:
    return printable(text, keep="\n")
