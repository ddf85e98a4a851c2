# SPDX-License-Identifier: Apache-2.0
"""Sentences that once ended wrongly, one file each: no untyped error, no wrong form, nothing slow.

Found by benchmarks/fuzzing.py, most of them.

What such a sentence means is not judged here: other tests of this folder do.
"""

from __future__ import annotations

import pytest

from benchmarks.fuzzing import REGRESSIONS, dictionary, regressions, seeds
from benchmarks.sentence_faults import SLOWEST_MS, Judged, judge_answer, judge_sentence
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import MAX_LENGTH, parse, parse_dialogue


@pytest.mark.parametrize("path", sorted(REGRESSIONS.glob("*.txt")), ids=lambda path: path.stem)
def test_nothing_is_wrong_with_what_was(path: object) -> None:
    text = path.read_text(encoding="utf-8").removesuffix("\n")  # type: ignore[attr-defined]
    found = judge_sentence(text)
    assert found.fault is None
    if found.readings:
        assert judge_answer(text, found.readings, most=100).fault is None


def test_there_are_seeds_and_words_to_fuzz_with() -> None:
    found = list(seeds())
    assert set(regressions()) <= set(found)
    assert len(found) > 500
    words = dictionary()
    assert {" behind ", " cm ", " not ", " the ", " neither "} <= set(words)
    assert len(words) == len(set(words))


def _raises(error: Exception) -> object:
    def parse_badly(_text: str) -> object:
        raise error

    return parse_badly


@pytest.mark.parametrize(
    ("error", "kind"),
    [(IndexError("3"), "crash"), (RecursionError(), "crash"),
     (NotUnderstoodError("the mug", (3, 99), "beyond the end", "say less"), "span"),
     (NotUnderstoodError("the mug", (3, 3), "nothing", "say more"), "span")],
)  # fmt: skip
def test_what_is_wrong_is_noticed(error: Exception, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("benchmarks.sentence_faults.parse", _raises(error))
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


def test_the_longest_text_is_judged() -> None:
    text = ("put the mug behind the box and " * 100)[:MAX_LENGTH]
    found = judge_sentence(text)
    assert isinstance(found, Judged)
    assert found.fault is None
    assert found.ms < SLOWEST_MS


@pytest.mark.parametrize("answer", [None, b"the left one", 3, "the left\x00 one", "the left one " * 200])
def test_an_answer_that_is_no_text_is_refused_as_an_instruction_is(answer: object) -> None:
    for follows in ([], ["grab the mug"], ["grab the mug", "the left one"]):
        with pytest.raises(InputError):
            parse_dialogue(answer, follows)  # type: ignore[arg-type]
    with pytest.raises(InputError):
        parse_dialogue("the left one", [answer])  # type: ignore[list-item]
