# SPDX-License-Identifier: Apache-2.0
"""Any text is answered with readings or one of two errors, after a bounded number of steps; sentences that once ended
wrongly are files of regressions/. What a sentence means is judged by other tests of this folder."""

import math
import sys
from pathlib import Path
from types import FrameType
from unittest.mock import Mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from language_outline import rows

from benchmarks.fuzzing import REGRESSIONS, dictionary, regressions, seeds
from benchmarks.sentence_faults import judge_answer, judge_sentence
from benchmarks.sentences import soak
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import parse
from spatial_vlm_ros.language.vocabulary import phrase_table
from spatial_vlm_ros.types import SpatialQuery

COMMON = (
    "the", "a", "mug", "box", "red", "tray", "and", "that is", "not", "between", "behind", "left of", "second",
    "from the left", "two", "10", "cm", "it", "put", "pick up", ",", ".", "(", ")", "cup's", "from my perspective",
    "die", "of", "one", "to", "me", "other", "than", "any", "both", "but", "nor", "within", "a hand's width", "in it",
    "there", "then", "open", "close it", "the jar's lid", "left and", "with", "itself", "or", "touches", "half",
)  # fmt: skip


def _read(text: str) -> tuple[SpatialQuery, ...] | NotUnderstoodError | InputError:
    try:
        return parse(text)
    except (NotUnderstoodError, InputError) as error:
        return error


def _check(text: str) -> None:
    answer = _read(text)
    if isinstance(answer, NotUnderstoodError):
        start, end = answer.span
        assert 0 <= start <= end <= len(text)
        assert start < end or not text
    elif not isinstance(answer, InputError):
        assert 1 <= len(answer) <= 64
        assert sum(query.preference for query in answer) == pytest.approx(1.0)


TEXTS = {
    "characters": st.text(max_size=200),
    "common words": st.lists(st.sampled_from(COMMON), max_size=25).map(" ".join),
    "phrases of the tables": st.lists(
        st.one_of(st.deferred(lambda: st.sampled_from(sorted(phrase_table().whole()))), st.sampled_from(COMMON)),
        max_size=12,
    ).map(" ".join),
}


@pytest.mark.parametrize("n", [100, pytest.param(600, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", TEXTS)
def test_arbitrary_text_never_crashes(kind: str, n: int) -> None:
    settings(max_examples=n, deadline=None)(given(TEXTS[kind])(_check))()


NAMES = ("box", "bowl", "cup", "jar", "tin", "pot", "pan", "lid", "fork", "spoon")
LONG = {
    **{
        f"{start}{unit!r} {times} times": (start + unit * times)[:1000] for start, unit, times in rows("long_sentences")
    },
    "words put in another order": "a cup's at the top left",
    "ten nested clauses": "the mug" + "".join(f" that is behind the {name}" for name in NAMES),
    "ten distances": "the mug" + "".join(f" 10 cm left of the {name}" for name in NAMES),
    "six commands": " and ".join(f"put the {name} left of the mug on the tray" for name in NAMES[:6]),
    "a question": "is the mug" + " behind the box that is" * 15 + " on the tray",
    "a long question": ("how far is " + "the mug behind " * 60 + "the box")[:1000],
}
MOST_CALLS = 2_000_000


def _calls(text: str) -> int:
    """How many functions are called to read a text: the work, whatever the machine does besides."""
    count = 0

    def heard(_frame: FrameType, event: str, _argument: object) -> None:
        nonlocal count
        count += event == "call"

    sys.setprofile(heard)
    try:
        _check(text)
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize("name", LONG)
def test_the_longest_sentences_take_a_bounded_number_of_steps(name: str) -> None:
    assert _calls(LONG[name]) < MOST_CALLS


@pytest.mark.parametrize("n", [100, pytest.param(2000, marks=pytest.mark.slow)])
def test_damaged_sentences_neither_crash_nor_take_many_steps(n: int) -> None:
    found = soak(n, seed=1)
    assert found.n == n
    assert found.crashes == []
    assert found.answered > n // 10
    assert _calls(found.slowest) < MOST_CALLS


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.txt")), ids=lambda path: path.stem)
def test_nothing_is_wrong_with_what_was(path: Path) -> None:
    text = path.read_text(encoding="utf-8").removesuffix("\n")
    found = judge_sentence(text, slowest_ms=math.inf)
    assert found.fault is None
    if found.readings:
        assert judge_answer(text, found.readings, most=100, slowest_ms=math.inf).fault is None
    assert _calls(text) < MOST_CALLS


def test_there_are_seeds_and_words_to_fuzz_with() -> None:
    found = list(seeds())
    assert set(regressions()) <= set(found)
    assert len(found) > 500
    words = dictionary()
    assert {" behind ", " cm ", " not ", " the ", " neither "} <= set(words)
    assert len(words) == len(set(words))


@pytest.mark.parametrize(
    ("error", "kind"),
    [(IndexError("3"), "crash"), (RecursionError(), "crash"),
     (NotUnderstoodError("the mug", (3, 99), "beyond the end", "say less"), "span"),
     (NotUnderstoodError("the mug", (3, 3), "nothing", "say more"), "span")],
)  # fmt: skip
def test_what_is_wrong_is_noticed(error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sentence_faults.parse", Mock(side_effect=error))
    fault = judge_sentence("the mug").fault
    assert fault is not None
    assert fault.kind == kind


def test_wrong_shares_and_slow_sentences_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    readings = parse("the can on the tin to the right of the jar")
    monkeypatch.setattr("benchmarks.sentence_faults.parse", lambda _text: readings[:1])
    fault = judge_sentence("the mug").fault
    assert fault is not None
    assert "add up to" in fault.told
    slow = judge_sentence("the mug", slowest_ms=0.0).fault
    assert slow is not None
    assert slow.kind == "slow"


def test_an_internal_error_of_an_answer_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_asked: object) -> None:
        raise IndexError("of a bug")

    monkeypatch.setattr("spatial_vlm_ros.resolver.choose", fail)
    found = judge_answer("the mug", parse("the mug"))
    assert found.fault is not None
    assert (found.fault.kind, "of a bug" in found.fault.told) == ("internal error", True)
