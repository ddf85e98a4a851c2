# SPDX-License-Identifier: Apache-2.0
"""Checks sentences for labelling, and reads them from a file."""

from __future__ import annotations

from pathlib import Path

from spatial_vlm_ros.errors import FileError, InputError
from spatial_vlm_ros.files.reading import read_bytes

_LONGEST = 1000  # characters, as the parser takes
_LARGEST = 10 * 1024 * 1024  # bytes of a file of sentences
_SHOWN = 60  # characters


def check_sentence(words: str) -> None:
    """Check that words are a valid sentence."""
    unseen = next((sign for sign in words if not sign.isprintable()), None)
    if not words.strip():
        raise InputError("sentence", "no words", "a sentence")
    if len(words) > _LONGEST:
        got = f"{words[:_SHOWN]!r} and more, {len(words)} characters"
        raise InputError("sentence", got, f"up to {_LONGEST} characters", "write a shorter one")
    if unseen is not None:
        name = "a tab" if unseen == "\t" else f"the sign U+{ord(unseen):04X}"
        got = f"{name} in {words[:_SHOWN]!r}"
        raise InputError("sentence", got, "visible characters", "remove it, or replace it with a space")


def read_sentences(path: Path) -> tuple[str, ...]:
    """Read the sentences of a text file, one per line; blank lines are skipped."""
    repair = "pass a text file in UTF-8 with one sentence per line"
    try:
        text = read_bytes(path, repair, _LARGEST).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise FileError(path, str(error), repair) from error
    found = []
    for n, line in enumerate(text.splitlines(), 1):
        words = line.strip()
        if not words:
            continue
        try:
            check_sentence(words)
        except InputError as error:
            raise FileError(path, error.got, error.repair, f"line {n}") from error
        found.append(words)
    if not found:
        raise FileError(path, "it has no sentences", "write one sentence per line")
    return tuple(found)
