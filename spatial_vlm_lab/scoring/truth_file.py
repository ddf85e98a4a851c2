# SPDX-License-Identifier: Apache-2.0
"""Reads truth files of bags: cases that name stamps, and the bag of each case.

Works on the file and the names of bags, not on their content. docs/evaluate.md describes the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.recording.cases import CASE_REPAIR, Case, read_cases

_MOST_NAMED = 20  # bags in a message


def load_truth(path: str | Path) -> tuple[Case, ...]:
    """Read the cases of a file for `--truth`, one for each non-blank line."""
    cases = []
    for at, case in read_cases(path, "pass a file with one case of a bag on each line"):
        if case.frame:
            reason = f"the case is of the frame {case.frame!r}"
            raise FileError(path, reason, "put cases of frames in cases.jsonl of their folder", at)
        if not case.stamp_ns:
            raise FileError(path, "the case has no `stamp_ns`", CASE_REPAIR, at)
        cases.append(case)
    if not cases:
        raise FileError(path, "it has no cases", CASE_REPAIR)
    return tuple(cases)


def cases_of_bag(path: str | Path, uri: str, bags: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases of one bag in a truth file, in the order of the file.

    Args:
        bags: all bags that are evaluated with this file; empty = only this one.
    """
    truth, at = _by_bag(str(path), _state_of(path))
    nameless = truth.get("", ())
    if nameless and len(set(bags)) > 1:
        reason = f"the case of stamp {nameless[0][1].stamp_ns} names no bag, but {len(set(bags))} bags are evaluated"
        raise FileError(path, reason, 'write "bag": "run1.mcap" into every case')
    names = dict.fromkeys(("", uri, *at.get(_place_of(uri, Path()), ())))
    own = sorted((one for name in names for one in truth.get(name, ())), key=lambda numbered: numbered[0])
    if not own:
        named = ", ".join(sorted(truth)[:_MOST_NAMED])
        raise FileError(path, f"it has no case of {uri}; its cases are of {named}",
                        "fix `bag`: the bag's URI, or its path relative to this file")  # fmt: skip
    return tuple(case for _, case in own)


def bags_left_out(path: str | Path, bags: Sequence[str]) -> dict[str, int]:
    """Bags in a truth file that are not evaluated → number of their cases."""
    truth, _ = _by_bag(str(path), _state_of(path))
    places = {_place_of(uri, Path()) for uri in bags}
    own = {name for name in truth if not name or name in bags or _place_of(name, Path(path).parent) in places}
    return {name: len(cases) for name, cases in truth.items() if name not in own}


def is_same_bag(name: str, uri: str, folder: Path) -> bool:
    """Whether a name in a truth file means a bag: its URI, or a path relative to the file's folder."""
    return name == uri or _place_of(name, folder) == _place_of(uri, Path())


@lru_cache(maxsize=4)
def _by_bag(path: str, state: tuple[int, int]) -> tuple[dict[str, list[tuple[int, Case]]], dict[str, list[str]]]:
    """Numbered cases by the bag that they name, and these names by their place: read once for thousands of bags."""
    del state
    cases: dict[str, list[tuple[int, Case]]] = {}
    for number, case in enumerate(load_truth(path)):
        cases.setdefault(case.bag, []).append((number, case))
    at: dict[str, list[str]] = {}
    for name in cases:
        if name:
            at.setdefault(_place_of(name, Path(path).parent), []).append(name)
    return cases, at


def _state_of(path: str | Path) -> tuple[int, int]:
    try:
        state = Path(path).stat()
    except (OSError, ValueError):  # whoever reads it says so
        return (-1, -1)
    return state.st_size, state.st_mtime_ns


def _place_of(name: str, folder: Path) -> str:
    return name if "://" in name else str((folder / name).resolve())
