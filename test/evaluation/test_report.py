# SPDX-License-Identifier: Apache-2.0
"""HTML, Markdown and JUnit reports: complete, self-contained, deaf to what labels say, also in a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import html.parser
import importlib.util
import math
import re
import shutil
import sys
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
import pytest
from evaluation_cases import HOSTILE, page_of, some_run

from spatial_vlm_lab.reports import report
from spatial_vlm_lab.reports.report import check_installed, escape, evaluation_page, junit_suites, markdown_evaluation
from spatial_vlm_lab.scoring import outcome as outcomes
from spatial_vlm_lab.scoring.case_result import Blame, CaseError, StoredAnswer, judge_case
from spatial_vlm_lab.scoring.comparing import calibrate
from spatial_vlm_ros.errors import DependencyError
from spatial_vlm_ros.printable import printable
from spatial_vlm_ros.recording.cases import Case, Expectation
from spatial_vlm_ros.types import Resolution, Status

if TYPE_CHECKING:
    from spatial_vlm_lab.scoring.case_result import CaseResult

pytest.importorskip("jinja2")
pytest.importorskip("junitparser")

JPEG = b"\xff\xd8not really a picture\xff\xd9"
VOID = {"meta", "img", "br", "hr", "link", "rect", "line", "circle", "polygon", "polyline"}


class Page(html.parser.HTMLParser):
    """Elements of a page with their attributes, and whether they are nested as they should be."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without its beginning"
        assert self.open.pop() == tag

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


@pytest.fixture(scope="module")
def outcome() -> outcomes.ModelOutcome:
    cases, answers = some_run()
    before = [StoredAnswer(c.frame, c.instruction, c.expect.status, c.expect.id) for c in cases[:-1] if c.expect]
    return outcomes.judge(cases, answers, before)


@pytest.fixture(scope="module")
def page(outcome: outcomes.ModelOutcome) -> str:
    return page_of(outcome, some_run()[1], f"Evaluation of {HOSTILE}", {12: JPEG, 14: JPEG})


def test_the_page_is_well_nested_and_has_one_heading_and_every_section(page: str) -> None:
    read = Page(page)
    assert read.open == []
    assert len(read.all("h1")) == 1
    ids = [a["id"] for _, a in read.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in read.all("a")} <= {f"#{i}" for i in ids}
    sections = {a["aria-labelledby"] for a in read.all("section")}
    assert sections == {"errors", "baseline", "failures", "groups", "confidence", "cases"}
    plotted = [a for a in read.all("svg") if a.get("class") == "plot"]
    assert len(plotted) == 4
    assert all(a.get("aria-label") for a in plotted)


def test_the_page_needs_nothing_else_and_runs_only_its_own_script(page: str) -> None:
    read = Page(page)
    tags = [tag for tag, _ in read.elements]
    assert not {*tags} & {"link", "iframe", "object", "embed", "form", "base"}
    assert tags.count("script") == 1
    for tag, attributes in read.elements:
        assert not [name for name in attributes if name.startswith("on")], tag
        for name in ("src", "href"):
            assert (attributes.get(name) or "#").startswith(("#", "data:image/jpeg;base64,"))
    policy: Any = next(a["content"] for a in read.all("meta") if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    script = page[page.index("<script>") + len("<script>") : page.index("</script>")]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert [part for part in policy.split("; ") if "script" in part] == [f"script-src 'sha256-{digest}'"]
    assert "url(" not in page
    assert "@import" not in page


def test_failures_have_words_candidates_image_and_hostile_words_do_nothing(
    page: str, outcome: outcomes.ModelOutcome
) -> None:
    read = Page(page)
    assert len(read.all("article")) == len(outcome.misses) == 3
    assert len(read.all("img")) == 2
    assert all(a["alt"] for a in read.all("img"))
    first, _, third = re.findall(r"<article.*?</article>", page, re.DOTALL)
    for words in ("the mug", "OK b", "OK a", "behind c", "-0.012", "unclear", "0.850", "new"):
        assert words in first
    assert 'class="tag bad">new' not in third
    assert page.count("<script") == 1
    assert "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;" in page
    assert not {"\u202e", "\x1b"} & {*page}


def test_figures_stand_with_their_counts_and_intervals(page: str, outcome: outcomes.ModelOutcome) -> None:
    text = re.sub(r"<[^>]+>", " ", page).replace("\u00a0", " ")
    share = outcome.as_expected
    assert f"{share.k} of {share.n}" in text
    assert f"{100 * share.low:.1f} to {100 * share.high:.1f} %" in text
    split: Any = outcome.split
    assert (split["usual"].n, split["counter_heuristic"].n) == (12, 2)
    assert "Usual minus counter-heuristic: +100.0 (" in text
    assert "Cannot tell" in text


def test_a_run_without_failures_and_without_a_baseline_is_a_page_too() -> None:
    cases, answers = some_run()
    text = page_of(outcomes.judge(cases[:3], answers[:3]), answers[:3], "fine")
    assert "Every case ended as expected." in text
    assert "Baseline" not in text
    refused = [Case("f1", "gibberish", Expectation(Status.NOT_UNDERSTOOD))]
    answer = Resolution("gibberish", Status.NOT_UNDERSTOOD, "no", frame="f1")
    assert "(not understood)" in page_of(outcomes.judge(refused, [answer]), [answer], "no answers")


def test_marks_of_plots_stay_inside_their_frames() -> None:
    found: Any = calibrate([0.99] * 20 + [0.6] * 10 + [0.2] * 5, [True] * 20 + [False, True] * 5 + [False] * 5)
    diagram, curve = report.reliability(found), report.coverage_risk(found)
    for axis in (diagram.x, diagram.y, curve.x, curve.y):
        assert 2 <= len(axis.ticks) <= 6
        assert axis.low - 1e-9 <= axis.ticks[0] < axis.ticks[-1] <= axis.high + 1e-9
        assert axis.at(axis.low) == axis.start
        assert axis.at(2.0) == axis.end
    places = [tuple(map(float, point.split(","))) for point in f"{curve.line} {curve.band}".split()]
    assert all(0 <= x <= report.WIDTH and 0 <= y <= report.HEIGHT for x, y in places)
    assert places[len(found.curve) - 1] == (curve.x.at(1.0), curve.y.at(found.aurc_random))


def test_markdown_has_figures_verdict_and_misses_and_no_markup_of_labels(outcome: outcomes.ModelOutcome) -> None:
    text = markdown_evaluation(outcomes.EvaluationOutcome((outcome,)), "Run")
    assert text.startswith("# Run\n")
    plain = re.sub(r"\\(.)", r"\1", text)
    assert "- against the baseline: cannot tell" in plain
    assert "- not compared: 1 cases that the baseline lacks, and 0 of its answers to other cases" in plain
    assert "| as expected | 12 | 15 | 80.0% | 54.8% to 93.0% |" in text
    assert "\n## 3 not as expected\n" in text
    tables = [re.sub(r"\\.", "", line) for line in text.splitlines() if line.startswith("|")]
    columns = [line.count("|") for line in tables]
    assert all(a == b or "---" not in rule for a, rule, b in zip(columns, tables[1:], columns[1:], strict=False))
    assert not re.search(r"(?<!\\)[<`]", text)
    assert "\x1b" not in text
    assert escape("a\n# b") == "a?\\# b"  # one line
    assert escape("[x](http://y)") == "\\[x\\]\\(http\\://y\\)"


def test_junit_has_one_test_case_for_each_case_and_failures_in_words(outcome: outcomes.ModelOutcome) -> None:
    junitparser: Any = pytest.importorskip("junitparser")
    cases = list(outcome.cases)
    text = junit_suites([outcomes.ModelRun("", cases, seconds=[0.0125] * len(cases))], "evaluate")
    suite = next(iter(junitparser.JUnitXml.fromstring(text)))
    assert (suite.tests, suite.failures, suite.errors) == (15, 3, 0)
    assert math.isclose(suite.time, 15 * 0.0125, abs_tol=1e-3)
    tests = list(suite)
    assert (tests[12].classname, tests[12].name) == ("f1", "the mug")
    assert tests[12].result[0].message == "expected OK b, got OK a"
    assert tests[13].result[0].type == "AMBIGUOUS"
    hostile = ET.fromstring(text).findall(".//testcase")[14]  # noqa: S314
    assert hostile.get("name") == printable(HOSTILE, keep="\n")


def test_a_missing_library_is_named_with_its_repair(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "jinja2", None)
    monkeypatch.setitem(sys.modules, "junitparser", None)
    check_installed(html=False, junit=False)
    for wanted, name in (({"html": True, "junit": False}, "Jinja2"), ({"html": False, "junit": True}, "junitparser")):
        with pytest.raises(DependencyError, match=rf"pip install {name}"):
            check_installed(**wanted)
    with pytest.raises(DependencyError, match="junitparser"):
        junit_suites([], "none")


SHOWN = "return [...document.querySelectorAll('article')].filter(a => !a.hidden).map(a => a.id)"


def runs() -> list[outcomes.ModelRun]:
    """Two models on the same fifteen cases; each fails three, the second for want of an object."""
    cases, answers = some_run()
    image = cv2.imencode(".jpg", np.full((60, 160, 3), 180, np.uint8))[1].tobytes()
    found = []
    for name in ("given <one>", "owl"):
        results: list[CaseResult] = []
        for case, answer in zip(cases, answers, strict=True):
            result = judge_case(case, case.expect, answer, model=name, source="recordings")
            lacks = {"error": CaseError.NOT_DETECTED, "blame": Blame.MODEL, "about": "can (d1)", "oracle_right": True}
            results.append(dataclasses.replace(result, **lacks if name == "owl" and not result.complete else {}))
        wrong = [n for n, result in enumerate(results) if not result.complete]
        run = outcomes.ModelRun(name, results, {n: answers[n] for n in wrong}, [0.1] * 15, dict.fromkeys(wrong, image))
        run.unusable.append(outcomes.UnusableCase("recordings", "f9", "the cap", "expect.id: 'd9'"))
        found.append(run)
    return found


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, str]]:
    if importlib.util.find_spec("selenium") is None or shutil.which("chromium") is None:
        pytest.skip("selenium or chromium is not here: scripts/setup.sh web browser")
    from approval_browser import Browser

    path = tmp_path_factory.mktemp("page") / "report.html"
    path.write_text(evaluation_page(outcomes.evaluation_of(runs(), notes=["time is set back"]), runs(), "Run"))
    browser = Browser()
    yield browser, path.as_uri()
    browser.close()


@pytest.mark.live
def test_filters_links_and_images_of_the_page(opened: tuple[Any, str]) -> None:
    browser, uri = opened

    def choose(name: str, value: str) -> None:
        chosen = f"const s = document.querySelector('select[name={name}]'); s.value = '{value}'; "
        browser.script(chosen + "s.dispatchEvent(new Event('change'))")

    browser.forget()
    browser.open(uri)
    assert browser.text("#shown") == "6 of 6 shown"
    choose("model", "owl")
    assert len(browser.script(SHOWN)) == 3
    browser.script("location.hash = '#case-1-14'")  # a link to a failure that is filtered out shows it
    browser.until("the failure is shown", lambda: "case-1-14" in browser.script(SHOWN))
    choose("model", "owl")
    choose("error", "needless refusal")
    assert browser.text("#shown") == "0 of 6 shown"
    choose("model", "given <one>")
    assert browser.script(SHOWN) == ["case-1-14"]
    browser.click("Show all")
    assert browser.text("#shown") == "6 of 6 shown"
    wide = "return document.querySelectorAll('article.wide').length"
    for enlarge, count in (("click", 1), ("focus", 0)):
        browser.script(f"document.querySelector('article img').{enlarge}()")
        if enlarge == "focus":
            browser.press("\ue007")
        assert browser.script(wide) == count
    choose("status", "AMBIGUOUS")
    assert browser.script(SHOWN) == ["case-1-14", "case-2-14"]
    assert browser.driver.get_log("browser") == []


@pytest.mark.live
@pytest.mark.parametrize(
    ("width", "dark"), [(1280, True), *(pytest.param(w, False, marks=pytest.mark.slow) for w in (1280, 390))]
)
def test_it_can_be_read_by_everyone(width: int, dark: bool, opened: tuple[Any, str], axe_script: str) -> None:
    browser, uri = opened
    browser.forget()
    browser.look(width, dark)
    browser.open(uri)
    browser.script("for (const d of document.querySelectorAll('details')) d.open = true")
    unsure = ("unsure, color-contrast", "unsure, th-has-data-cells")  # letters over plots, and a table without rows
    assert [fault for fault in browser.faults(axe_script) if not fault.startswith(unsure)] == []


@pytest.mark.live
def test_without_scripts_every_failure_is_shown(opened: tuple[Any, str]) -> None:
    browser = type(opened[0])(scripts=False)
    try:
        browser.open(opened[1])
        found = browser.driver.find_elements("css selector", "article")
        assert len([one for one in found if one.is_displayed()]) == 6
        assert not browser.driver.find_element("id", "filters").is_displayed()
    finally:
        browser.close()
