# SPDX-License-Identifier: Apache-2.0
"""Claim: a sentence is parsed in under 5 ms, a thousand in under 3 s, and the first of a new process in under 30 ms.

All readings are included. The baseline is a common shortcut: a few regular expressions, of which the first match wins.
It is faster, and it finds one relation at most: no attributes, counts, orders, frames of reference, nested relations or
second readings.
"""

from __future__ import annotations

import random
import re
import subprocess
import sys
import time

import numpy as np

from benchmarks.harness import REPETITIONS, WARM_UP, Claim, Timing, arguments, finish
from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.language import parse

SENTENCES = 1000
SECONDS_EACH = 0.003
SLOTS = {
    "verb": "pick up|grab|give me|bring me|find|point at|hand me|please fetch|could you take|where is|i need",
    "det": "the|the|the|a|my|any",
    "attribute": "||||red|dark blue|green|small|tall wooden|big white|plastic|shiny metal|striped",
    "noun": "cup|mug|bottle|chick|soup can|box|bowl|cereal box|banana|book|toy car|screwdriver|sponge|glass",
    "relation": "behind|in front of|to the left of|right of|on|on top of|under|inside|next to|near|far from|above"
    "|touching|at the edge of|on the left side of|on the other side of|taller than|opposite|other than",
    "frame": "||||||from my point of view|as seen from the robot",
    "superlative": "leftmost|rightmost|nearest|tallest|smallest|largest|highest",
    "ordinal": "second|third|fourth",
    "distance": "10 cm|half a metre|about two feet|at least a hand's width|no more than 20 centimetres",
    "measured": "left of|to the right of|behind|above|from|away from",
    "side": "left|right",
    "place": "on|next to|behind|into|in front of",
}
TEMPLATES = (
    "{verb} {thing}",
    "{verb} {thing} {relation} {thing}",
    "{verb} {thing} {relation} {thing} {frame}",
    "{verb} {thing} {relation} {thing} {relation} {thing}",
    "{verb} {thing} that is {relation} {thing} and {relation} {thing}",
    "{verb} {thing} between {thing} and {thing}",
    "{verb} the {superlative} {noun}",
    "{verb} the {superlative} {attribute} {noun} {relation} {thing}",
    "{verb} the {ordinal} {noun} from the {side}",
    "put {thing} {place} {thing}",
    "put {thing} {relation} {thing} {place} {thing}",
    "{verb} {thing} that is not {relation} {thing}",
    "{verb} {thing} {distance} {measured} {thing}",
    "put {thing} {distance} {measured} {thing}",
    "open {thing} and put {thing} in it",
    "pick up {thing}, then open {thing} and place it inside",
)
PROCESSES = 11
FIRST_MS = 30.0
FIRST = """
import sys, time
from spatial_vlm_ros.language import parse
start = time.process_time()
parse(sys.argv[1])
print(time.process_time() - start)
"""
_SLOT = re.compile(r"\{(\w+)\}")

VERBS = r"(?:pick up|grab|give me|bring me|find|point at|hand me|please fetch|could you take|where is|i need|put)"
PHRASE = r"(?:the |a |my )?([a-z ]+?)"
FIRST_MATCH = tuple(
    re.compile(pattern)
    for pattern in (
        rf"^{VERBS} {PHRASE} between {PHRASE} and {PHRASE}$",
        *(
            rf"^{VERBS} {PHRASE}(?: that is)? {re.escape(relation)} {PHRASE}$"
            for relation in SLOTS["relation"].split("|")
        ),
        rf"^{VERBS} {PHRASE}$",
    )
)


def sentence(rng: random.Random) -> str:
    """Make one instruction from the templates."""
    text = rng.choice(TEMPLATES).replace("{thing}", "{det} {attribute} {noun}")
    return " ".join(_SLOT.sub(lambda slot: rng.choice(SLOTS[slot[1]].split("|")), text).split())


def sentences(n: int, seed: int = 0) -> list[str]:
    """Make different instructions, the same ones for the same seed."""
    rng = random.Random(seed)
    found: dict[str, None] = {}
    while len(found) < n:
        found[sentence(rng)] = None
    return list(found)


def readings(text: str) -> int:
    """Number of readings; 0 if the sentence is refused."""
    try:
        return len(parse(text))
    except SpatialVlmError:
        return 0


def first_match(text: str) -> tuple[str, ...] | None:
    """Groups captured by the first matching regular expression."""
    return next((found.groups() for pattern in FIRST_MATCH if (found := pattern.match(text))), None)


def first_parse(text: str) -> float:
    """Processor time of the first sentence of a new process, without imports, seconds."""
    done = subprocess.run([sys.executable, "-c", FIRST, text], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> int:
    """Measure, print and write."""
    given = arguments(__doc__, n=SENTENCES, repetitions=REPETITIONS)
    count, rounds = given.n, given.repetitions
    texts = sentences(count)
    readings(texts[0])
    first = Timing(tuple(first_parse(text) for text in texts[:PROCESSES]))
    rivals = {"ours": readings, "first-match regex": first_match}
    each: dict[str, list[list[float]]] = {name: [] for name in rivals}
    for turn in range(WARM_UP + rounds):
        for name, run in rivals.items():
            took = []
            for text in texts:
                start = time.perf_counter()
                run(text)
                took.append(time.perf_counter() - start)
            if turn >= WARM_UP:
                each[name].append(took)
    per_sentence = {name: Timing(tuple(np.median(runs, axis=0).tolist())) for name, runs in each.items()}
    passes = {name: Timing(tuple(sum(run) for run in runs)) for name, runs in each.items()}
    counts = [readings(text) for text in texts]
    understood = {
        "ours": sum(count > 0 for count in counts),
        "first-match regex": sum(first_match(text) is not None for text in texts),
    }
    rows = {
        name: {
            "sentence": per_sentence[name].summary(),
            "slowest_ms": round(max(per_sentence[name].seconds) * 1e3, 3),
            "pass": passes[name].summary(),
            "ratio": round(passes[name].median_ms / passes["ours"].median_ms, 4),
            "answered": understood[name],
        }
        for name in rivals
    }
    claims = [
        Claim("a sentence, median", per_sentence["ours"].median_ms, 5.0, "ms"),
        Claim("first sentence of a process, median", first.median_ms, FIRST_MS, "ms"),
        Claim(f"{count:,} sentences", passes["ours"].median_ms / 1e3, SECONDS_EACH * count, "s"),
    ]
    measured = {
        "setting": {"sentences": count, "passes": rounds, "baseline": "first-match regex"},
        "first_of_a_process": first.summary(),
        "readings": sum(counts),
        "routes": rows,
    }
    return finish("parsing", measured, claims)


if __name__ == "__main__":
    sys.exit(main())
