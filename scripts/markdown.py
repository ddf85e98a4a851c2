# SPDX-License-Identifier: Apache-2.0
"""Markdown of the pages that programs make: titles, paragraphs, list items and tables."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence

WIDTH = 120
_MARKER = re.compile(r"^(\s*)([-+*#>]|\d+[.)])(?=\s)")  # would start a list, a heading or a quotation
_CODE, _KEPT = re.compile(r"`[^`]+`"), "\x01"  # stays in one line; placeholder for its blanks meanwhile


def page(title: str, *blocks: str) -> str:
    """Make a page from its title and its blocks; empty blocks are left out."""
    return "\n\n".join([f"# {title}", *(block for block in blocks if block)]) + "\n"


def wrapped(text: str, first: str = "", rest: str = "", width: int = WIDTH) -> str:
    """Wrap a paragraph; code in it is not broken, and no further line begins a list.

    Args:
        text: the paragraph; its own line breaks do not count.
        first: prefix of the first line.
        rest: prefix of the other lines.
        width: longest line, characters.
    """
    words = _CODE.sub(lambda code: code[0].replace(" ", _KEPT), " ".join(text.split()))
    lines = textwrap.wrap(
        words, width, initial_indent=first, subsequent_indent=rest, break_on_hyphens=False, break_long_words=False
    )
    head, *others = [line.replace(_KEPT, " ") for line in lines] or [first]
    return "\n".join([head, *(_MARKER.sub(r"\1\\\2", line) for line in others)])


def item(text: str, level: int = 0, width: int = WIDTH) -> str:
    """Make a list item, of an inner list at a higher level."""
    return wrapped(text, f"{'  ' * level}- ", "  " * (level + 1), width)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Make a table."""
    lines = ["|" + "|".join(f" {cell} " if cell != "" else " " for cell in row) + "|" for row in (header, *rows)]
    return "\n".join([lines[0], "|---" * len(header) + "|", *lines[1:]])
