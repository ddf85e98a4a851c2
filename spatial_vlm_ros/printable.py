# SPDX-License-Identifier: Apache-2.0
"""Text from outside as a terminal, a log or a report may show it.

Replies of models, labels, instructions, names of topics, nodes and files come from outside. Printed as they are, they
could move the cursor, recolour or overwrite lines (ANSI escapes), set the window's title, turn text around (bidi
overrides) or fake a second line.
"""

from __future__ import annotations

import re

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")
_TAB = 8  # columns


def printable(text: object, keep: str = "") -> str:
    """Text in which every character shows: what a terminal would obey, or a reader not see, becomes a question mark.

    Replaced is what Python's `str.isprintable` denies: control characters (ESC and its 8-bit forms, line feed, carriage
    return), format characters (bidi overrides and isolates, zero-width characters), line and paragraph separators,
    surrogates, private use and unassigned code points, and blanks other than the space.

    Args:
        text: of any type, as `str` gives it.
        keep: characters that stay, such as a line feed between lines of our own.
    """
    text = str(text)
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() or sign in keep else "?" for sign in text)


def printable_line(line: str) -> str:
    """A line that another program wrote: its colours are dropped, its tabs widened, the rest is `printable`."""
    return printable(_COLOUR.sub("", line).rstrip("\r").expandtabs(_TAB))


def printable_json(text: str) -> str:
    """The same JSON with escapes for what would not show. Text of `json.dumps` without indentation."""
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else _escaped(sign) for sign in text)


def _escaped(sign: str) -> str:
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[k]:02x}{units[k + 1]:02x}" for k in range(0, len(units), 2))
