# SPDX-License-Identifier: Apache-2.0
"""Claim: no text that a coverage-guided fuzzer finds is answered with an untyped error, or takes longer than 100 ms.

    pip install 'spatial-vlm-ros[fuzz]'           atheris, libFuzzer for Python: CPython 3.11 on x86_64 Linux
    python -m benchmarks.fuzzing --minutes 30     continues the last run; sentences in out/fuzzing
    python -m benchmarks.fuzzing --minutes 30 --answer-every 5    every fifth readable sentence also on a scene

It starts from sentences of every form, those of test/language/regressions, and the words of the grammar's own tables.
Failures are repeated without the fuzzer's instruments, which slow everything down, and written to out/fuzzing/found,
one sentence per file. Once fixed, a sentence belongs in test/language/regressions.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import random
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks.harness import Claim, arguments, finish

OUT = Path("out/fuzzing")
REGRESSIONS = Path(__file__).resolve().parents[1] / "test" / "language" / "regressions"
SEEDS = 600
_TOLD_EVERY = 200  # sentences between two progress messages
_MOST_OF_A_KIND = 20  # sentences kept per kind of fault
_INSTRUMENTED = 4  # approximate slow-down by the instruments


def seeds() -> Iterator[str]:
    """Sentences to start from: every form, earlier failures, sentences from templates and from random meanings."""
    from benchmarks.parsing import sentences
    from benchmarks.sentences import FORMS

    yield from FORMS
    yield from regressions()
    yield from sentences(SEEDS, seed=7)


def regressions() -> list[str]:
    """Earlier failing sentences, one file each."""
    return [path.read_text(encoding="utf-8").removesuffix("\n") for path in sorted(REGRESSIONS.glob("*.txt"))]


def dictionary() -> list[str]:
    """Every word of the grammar's tables, and numbers and signs."""
    from spatial_vlm_ros.language.patterns import WORDS
    from spatial_vlm_ros.language.vocabulary import phrase_table

    units = WORDS.under("distances").meanings("units")
    words = sorted({word for phrase in (*phrase_table().whole(), *units) for word in phrase.split()})
    return [*(f" {word} " for word in words), "'s ", ", ", ". ", "? ", "-", "(", ")", "0", "10", "999", "1,5", "\n"]


def prepare() -> None:
    """Write the corpus and the dictionary."""
    corpus = OUT / "corpus"
    corpus.mkdir(parents=True, exist_ok=True)
    (OUT / "found").mkdir(exist_ok=True)
    for text in seeds():
        raw = text.encode("utf-8", "replace")
        (corpus / hashlib.sha1(raw, usedforsecurity=False).hexdigest()).write_bytes(raw)
    lines = ('"' + "".join(f"\\x{byte:02x}" for byte in word.encode()) + '"' for word in dictionary())
    (OUT / "words.dict").write_text("\n".join(lines) + "\n", encoding="ascii")


def fuzz(seconds: int, seed: int, answer_every: int) -> None:
    """Run the fuzzer in this process; it ends the process.

    Args:
        seconds: run time, seconds.
        seed: seed of its random choices.
        answer_every: one in this many readable sentences is also resolved on a scene.
    """
    import atheris

    logging.disable(logging.CRITICAL)  # an internal error is recorded, and its traceback can be reproduced
    with atheris.instrument_imports(include=["spatial_vlm_ros.language", "spatial_vlm_ros.resolver",
                                             "spatial_vlm_ros.spatial"]):  # fmt: skip
        from benchmarks.sentence_faults import SLOWEST_MS, Fault, judge_answer, judge_sentence

    counts = {"sentences": 0, "readable": 0, "answered": 0}
    faults: dict[str, int] = {}
    slowest: list[float | str] = [0.0, ""]
    chance = random.Random(seed)

    def note(fault: Fault) -> None:
        faults[fault.kind] = faults.get(fault.kind, 0) + 1
        if faults[fault.kind] <= _MOST_OF_A_KIND:
            name = hashlib.sha1(fault.text.encode("utf-8", "replace"), usedforsecurity=False).hexdigest()[:12]
            path = OUT / "found" / f"{fault.kind.replace(' ', '_')}-{name}"
            path.with_suffix(".txt").write_text(fault.text, encoding="utf-8", errors="replace")
            path.with_suffix(".why").write_text(fault.told + "\n", encoding="utf-8", errors="replace")

    def try_one(raw: bytes) -> None:
        text = raw.decode("utf-8", "ignore")
        found = judge_sentence(text, _INSTRUMENTED * SLOWEST_MS)
        judged = [found]
        counts["sentences"] += 1
        if found.readings:
            counts["readable"] += 1
            if chance.randrange(answer_every) == 0:
                counts["answered"] += 1
                judged.append(judge_answer(text, found.readings, slowest_ms=_INSTRUMENTED * SLOWEST_MS))
        for each in judged:
            if each.fault is not None:
                note(each.fault)
            if each.ms > float(slowest[0]):
                slowest[:] = [each.ms, text]
        if counts["sentences"] % _TOLD_EVERY == 0:
            told = {**counts, "faults": faults, "slowest_ms": slowest[0], "slowest": slowest[1]}
            (OUT / "counts.json").write_text(json.dumps(told), encoding="utf-8")

    atheris.Setup(
        [sys.argv[0], f"-max_total_time={seconds}", f"-seed={seed}", "-max_len=400", "-timeout=60", "-verbosity=0",
         f"-dict={OUT / 'words.dict'}", "-use_value_profile=1", str(OUT / "corpus")], try_one
    )  # fmt: skip
    atheris.Fuzz()


def faults_again(files: Iterable[Path]) -> Iterator[tuple[Path, str]]:
    """Files of failures that also fail without instruments, with reasons; other files are removed."""
    from benchmarks.sentence_faults import judge_answer, judge_sentence

    for path in sorted(files):
        text = path.read_text(encoding="utf-8")
        found = judge_sentence(text)
        fault = found.fault or (judge_answer(text, found.readings).fault if found.readings else None)
        if fault is None:
            path.unlink()
            path.with_suffix(".why").unlink(missing_ok=True)
        else:
            yield path, f"{fault.kind}: {fault.told}"


def main() -> int:
    """Prepare, fuzz in another process, judge the failures, print and write."""
    given = arguments(__doc__, minutes=30.0, seed=1, answer_every=10, child=False)
    minutes, seed, answer_every = given.minutes, given.seed, given.answer_every
    if given.child:
        fuzz(round(60 * minutes), seed, answer_every)
    if importlib.util.find_spec("atheris") is None:
        print("atheris is not installed: pip install 'spatial-vlm-ros[fuzz]' (CPython 3.11 on x86_64 Linux)")
        return 2
    prepare()
    (OUT / "counts.json").unlink(missing_ok=True)
    child = [sys.executable, "-m", "benchmarks.fuzzing", "--child", "--minutes", str(minutes), "--seed", str(seed),
             "--answer-every", str(answer_every)]  # fmt: skip
    code = subprocess.run(child, check=False).returncode
    path = OUT / "counts.json"
    counts = {"sentences": 0, "readable": 0, "answered": 0, "slowest_ms": 0.0}
    counts |= json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    corpus = sum(1 for _ in (OUT / "corpus").iterdir())
    wrong = list(faults_again((OUT / "found").glob("*.txt")))
    for file, why in wrong:
        print(f"{file}: {why}: {file.read_text(encoding='utf-8')[:120]!a}")
    claims = [Claim("faults", len(wrong), 0.0, "sentences"), Claim("exit code of the fuzzer", abs(code), 0.0, "")]
    setting = {"minutes": minutes, "seed": seed, "answer_every": answer_every, "corpus": corpus}
    return finish("fuzzing", {"setting": setting, **counts, "wrong": [why for _, why in wrong]}, claims)


if __name__ == "__main__":
    sys.exit(main())
