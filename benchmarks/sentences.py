# SPDX-License-Identifier: Apache-2.0
"""Claim: no mutated sentence causes an undocumented error, and none takes longer than 100 ms.

`python -m benchmarks.sentences --n 100000 --asked 4000`: sentences of every form are damaged with a fixed seed: words
and characters dropped, doubled and swapped, foreign letters and signs inserted. A crash is any exception but the two
that `parse` documents. `--asked` sentences with readings are also resolved on random scenes of up to 100 objects.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial

from benchmarks.harness import Claim, arguments, finish
from benchmarks.parsing import sentence
from benchmarks.sentence_faults import SLOWEST_MS, judge_answer
from spatial_vlm_ros.errors import InputError, NotUnderstoodError
from spatial_vlm_ros.language import MAX_LENGTH, parse, parse_dialogue, render
from spatial_vlm_ros.types import SpatialQuery

OBJECTS = 100
FORMS = (
    "put the mug 10 cm to the left of the plate and close the drawer",
    "the cup about half a metre behind the box, no more than two hand widths from the tray",
    "open the drawer and put the bowl in it, then give me the other bowl",
    "any mug but the red one that isn't on the tray",
    "the mug on the other side of the box from the cup in the left half of the tray",
    "both of the cans in the back left corner of the shelf",
    "the taller of the two mugs that is neither behind nor in front of the box",
    "take the lid off the pot, put it on the table and hand me the second spoon from the left",
    "the top drawer of the cabinet, as seen from the robot",
    "could you uh grab me the the one with the spoon in it, please?",
    "the box closer to me than the can but not between the two cups",
    "which of the bowls contains the apple facing away from the chair?",
    "is the mug on the mat or in the box, as seen from my side?",
    "put the jar with the spoon in it between the cup and the pan, from my side",
    "open the box. Then hand me the can that is not between the cup and the jar",
    "the cup which is left of the pan as the camera sees it and isn't as tall as the jar is",
    "open the drawer. Then put whatever is nearest the sink in it",
)
SPECKS = (
    "\u00e9\u00df\u4e2d\u0416\u05d0\U0001f600\u2019\u201c\u2013\u2026\u00a0\u200b"
    "#@%$&/()[]{}<>*+=~^|\\\"'`.,;:!?-_0123456789"
)
WORDS = (
    "the", "a", "and", "or", "not", "of", "to", "left", "than", "it", "that", "is", "other", "10", "cm", "two", "both",
    "any", "from", "between", "in", "put", "then", "one", "its", "my", "within", "half", "box's", "neither", "nor",
    "but", "there",
)  # fmt: skip


@dataclass
class Soak:
    """Results of parsing many sentences.

    Args:
        n: number of sentences.
        answered: number of sentences with readings.
        crashes: sentences with the exception that they raised.
        slowest_ms: longest time of one sentence, milliseconds.
        slowest: the slowest sentence.
        unrendered: sentences whose preferred reading, rendered as words, is not among the readings of these words.
        times_ms: processor time of each that ended in readings or a refusal, milliseconds.
        answers_ms: the same for each that was resolved on a scene.
        wrong_answers: sentences with the faults of their answers.
    """

    n: int = 0
    answered: int = 0
    crashes: list[str] = field(default_factory=list)
    slowest_ms: float = 0.0
    slowest: str = ""
    unrendered: list[str] = field(default_factory=list)
    times_ms: list[float] = field(default_factory=list)
    answers_ms: list[float] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)


def _words(change: Callable[[random.Random, list[str]], None], rng: random.Random, text: str) -> str:
    """A mutation of the words of a sentence."""
    words = text.split(" ")
    change(rng, words)
    return " ".join(words)


def _drop(rng: random.Random, words: list[str]) -> None:
    words.pop(rng.randrange(len(words)))


def _double(rng: random.Random, words: list[str]) -> None:
    first = rng.randrange(len(words))
    some = words[first : first + rng.randint(1, 4)]
    words[first:first] = some * rng.randint(1, 3)


def _swap(rng: random.Random, words: list[str]) -> None:
    i, j = rng.randrange(len(words)), rng.randrange(len(words))
    words[i], words[j] = words[j], words[i]


def _insert(rng: random.Random, words: list[str]) -> None:
    words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))


def _character(rng: random.Random, text: str) -> str:
    """Drop, double, swap, insert or capitalise one character."""
    i = rng.randrange(len(text))
    change = rng.randrange(5)
    middle = ("", text[i] * 2, text[i : i + 2][::-1], text[i] + rng.choice(SPECKS), text[i].upper())[change]
    return text[:i] + middle + text[i + (2 if change == 2 else 1) :]


def _join(rng: random.Random, text: str) -> str:
    """Join two sentences."""
    return text + rng.choice((" and ", ", ", " ", " that is ", ". ", " then ")) + rng.choice(FORMS)


def _strip(_rng: random.Random, text: str) -> str:
    """Make it look like a speech transcript."""
    return "".join(character for character in text.lower() if character.isalnum() or character == " ")


MUTATIONS: tuple[Callable[[random.Random, str], str], ...] = (
    *(partial(_words, change) for change in (_drop, _drop, _double, _swap, _insert, _insert)),
    _character, _character, _join, _strip,
)  # fmt: skip


def mutated(n: int, seed: int = 0) -> Iterator[str]:
    """Make `n` damaged sentences of at most `MAX_LENGTH` characters, the same ones for the same seed."""
    rng = random.Random(seed)
    for _ in range(n):
        text = rng.choice(FORMS) if rng.random() < 0.5 else sentence(rng)
        for _ in range(rng.randint(1, 6)):
            text = rng.choice(MUTATIONS)(rng, text) or "the"
        yield text[:MAX_LENGTH]


def soak(n: int, seed: int = 0, asked: int = 0) -> Soak:
    """Parse `n` damaged sentences, alone and as answers to a question; `asked` readable ones are also resolved."""
    found = Soak()
    parse(FORMS[0])
    for text in mutated(n, seed):
        readings: tuple[SpatialQuery, ...] = ()
        found.n += 1
        start = time.process_time()  # processor time, because other programs are not the parser's fault
        try:
            readings = parse(text)
            found.answered += 1
        except (InputError, NotUnderstoodError):
            pass
        except Exception as error:  # finding crashes is the purpose
            found.crashes.append(f"{error!r}: {text}")
            continue
        took = (time.process_time() - start) * 1e3
        found.times_ms.append(took)
        if took > found.slowest_ms:
            found.slowest_ms, found.slowest = took, text
        try:
            parse_dialogue(text, [FORMS[3]])
            if readings:
                _say_again(readings, found, text)
        except (InputError, NotUnderstoodError):
            pass
        except Exception as error:
            found.crashes.append(f"{error!r}: {text}")
        if readings and len(found.answers_ms) < asked:
            judged = judge_answer(text, readings, OBJECTS)
            found.answers_ms.append(judged.ms)
            if judged.fault is not None:
                found.wrong_answers.append(f"{judged.fault.kind}: {judged.fault.told}: {text}")
    return found


def _say_again(readings: tuple[SpatialQuery, ...], found: Soak, text: str) -> None:
    """Record a sentence whose preferred reading is not read again from its rendered words."""
    first = readings[0]
    words = render(first)
    if len(words) > MAX_LENGTH:
        return
    try:
        again = parse(words)
    except NotUnderstoodError:
        again = ()
    same = (first.action, first.target, first.destination, first.steps)
    if not any((query.action, query.target, query.destination, query.steps) == same for query in again):
        found.unrendered.append(f"{text}  ->  {words}")


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=100_000, seed=0, asked=0)
    found = soak(given.n, given.seed, given.asked)
    faults = {"answer": found.wrong_answers, "crash": found.crashes, "not said again": found.unrendered}
    read = {
        "answered": found.answered,
        "crashes": len(found.crashes),
        "median_ms": round(statistics.median(found.times_ms or [0.0]), 4),
        "slowest_ms": round(found.slowest_ms, 3),
        "not_said_again": len(found.unrendered),
    }
    answers = sorted(found.answers_ms) or [0.0]
    asked = {
        "asked": len(answers),
        "answers_median_ms": round(statistics.median(answers), 3),
        "answers_99_ms": round(answers[int(0.99 * len(answers))], 3),
        "answers_slowest_ms": round(answers[-1], 3),
    }
    wrong = len(found.wrong_answers)
    for kind, those in faults.items():
        for words in those[:10]:
            print(f"{kind}: {words!a}")
    claims = [
        Claim("crashes", len(found.crashes), 0.0, "sentences"),
        Claim("slowest sentence", found.slowest_ms, SLOWEST_MS, "ms"),
        Claim("wrong or slow answers", wrong, 0.0, "sentences"),
    ]
    measured = {
        "setting": {"sentences": found.n, "seed": given.seed},
        **read,
        "slowest": found.slowest,
        **asked,
        "wrong_answers": [ascii(words) for words in found.wrong_answers[:100]],
    }
    return finish("sentences", measured, claims)


if __name__ == "__main__":
    raise SystemExit(main())
