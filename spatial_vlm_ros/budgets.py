# SPDX-License-Identifier: Apache-2.0
"""What one request may cost, for each command and node: one table of seconds, bytes and counts.

What is beyond is refused with a typed error before work is spent on it. Limits of files are in docs/files.md.
"""

from __future__ import annotations

from typing import Final, TypeVar

Number = TypeVar("Number", int, float)
_ANSWERS = "`resolve`, `parse`, `evaluate`, `label`; goals and topics"
_GOALS, _SERVER, _GET = "goals of the resolver", "backends with a model server", "`models get`"
_PAGES, _LABEL, _GATE = "pages of `label` and of `planner_gate`", "`label`", "`planner_gate`"


BUDGETS: Final = list[tuple[str, str, float, str]]()
"""Request, what is limited, the most, its unit."""


def _most(request: str, what: str, most: Number, unit: str = "") -> Number:
    BUDGETS.append((request, what, most, unit))
    return most


MAX_LENGTH = _most(_ANSWERS, "a sentence", 1000, "characters")
LONGEST_OTHERS = _most(_ANSWERS, "further sentences of a request, together", 3000, "characters")
MOST_DETECTIONS = _most(_ANSWERS, "detections of a frame", 5000)
MOST_OF_ONE_NAME = _most(_ANSWERS, "detections with one label", 300)
LONGEST_LABEL = _most(_ANSWERS, "an id or a label of a detection", 1000, "characters")
LARGEST_BOX = _most(_ANSWERS, "a value of a box, to either side of zero", 1e6, "pixels")
MOST_DIALOGUES = _most(_GOALS, "dialogues that are kept; older ones end", 200)
MOST_WAITING = _most(_GOALS, "decisions that wait to be kept as evidence; newer ones are not kept", 8)
MOST_BYTES = _most(_SERVER, "a reply", 1 << 22, "bytes")
MOST_REDIRECTS = _most(_SERVER, "redirects, within the server", 3)
SILENT = _most(_GET, "silence of a connection", 30.0, "s")
SLOWEST = _most(_GET, "bytes per second that are waited for, as a mean over a file", 10_000.0, "bytes/s")
PATIENCE = _most(_GET, "time in addition to that", 60.0, "s")
MOST_CONNECTIONS = _most(_PAGES, "open connections", 128)
ASKS_WITHIN = _most(_PAGES, "time of a whole request, from the connection or the last answer", 10.0, "s")
LARGEST_HEAD = _most(_PAGES, "first line and headers of a request", 16 * 1024, "bytes")
LARGEST_FORM = _most(_PAGES, "a form", 16 * 1024, "bytes")
LARGEST_TRUTH = _most(_LABEL, "a truth", 64 * 1024, "bytes")
MOST_FRAMES = _most(_LABEL, "frames of a bag: their images stay on the disk while the page is open", 2000)
MOST_CASES = _most(_LABEL, "cases", 100_000)
LONGEST_WAIT = _most(_GATE, "wait for a person: the scene has probably changed by then", 3600.0, "s")
LARGEST_IMAGE = _most(_GATE, "an image of a proposal", 1 << 23, "bytes")
LONGEST_LINE = _most("`audit`", "a line of a record", 1 << 24, "bytes")
