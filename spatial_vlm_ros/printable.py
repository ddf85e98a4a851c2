# SPDX-License-Identifier: Apache-2.0
"""Makes untrusted text safe to show in a terminal, a log or a report.

Model replies, labels, instructions and names of topics, nodes and files are untrusted. Printed unchanged, they could
move the cursor, recolour or overwrite lines (ANSI escapes), set the window title, reverse text (bidi overrides) or fake
a second line.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TAB = 8  # columns


def printable(text: object, keep: str = "") -> str:
    """Replace characters that control a terminal or are invisible with question marks.

    It replaces every character for which `str.isprintable` is false: control characters (ESC and its 8-bit forms, line
    feed, carriage return), format characters (bidi overrides and isolates, zero-width characters), line and paragraph
    separators, surrogates, private use and unassigned code points, and blanks other than the space.

    Args:
        keep: characters that are kept, such as line feeds between the package's own lines.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else "?" for sign in text)


def printable_line(line: str) -> str:
    """Make a line of another program printable: drop its colours, expand its tabs, and apply `printable`."""
    return printable(_COLOUR.sub("", line).rstrip("\r").expandtabs(_TAB))


def printable_json(text: str) -> str:
    """Escape unprintable characters in JSON text from `json.dumps` without indentation."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else json.dumps(sign)[1:-1] for sign in text)


def joined(words: Sequence[str], last: str = "and") -> str:
    """Words as a list for people: "a, b and c"; "" for none."""
    return f"{', '.join(words[:-1])} {last} {words[-1]}" if len(words) > 1 else "".join(words)
