# SPDX-License-Identifier: Apache-2.0
"""The truth of bags: a file of cases that name stamps, and which of them are of which bag.

Knows the file and the names of bags; knows nothing of what is in them. docs/evaluate.md describes the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.evaluation.frame_folder import CASE_REPAIR, read_cases

_MOST_NAMED = 10


def load_truth(path: str | Path) -> tuple[Case, ...]:
    """The cases of a file for `--truth`, one for each line that is not blank.

    Raises:
        FileError: it cannot be read, it is empty, or a line is no case of a bag; names the line.
    """
    cases = []
    for at, case in read_cases(path, "give a file with one case of a bag in each line"):
        if case.frame:
            reason = f"the case is of the frame {case.frame!r}"
            raise FileError(path, reason, "write cases of frames into cases.jsonl of their folder", at)
        if not case.stamp_ns:
            raise FileError(path, "the case has no `stamp_ns`", CASE_REPAIR, at)
        cases.append(case)
    if not cases:
        raise FileError(path, "there is no case in it", CASE_REPAIR)
    return tuple(cases)


def cases_of_bag(path: str | Path, uri: str, bags: Sequence[str] = ()) -> tuple[Case, ...]:
    """The cases that a file of truth has of one bag, in the order of the file.

    Args:
        path: the file.
        uri: of the bag.
        bags: all bags that are evaluated with this file; empty = this one alone.

    Raises:
        FileError: as `load_truth`; or it has none of this bag; or a case names no bag, though there are several.
    """
    found = _by_bag(path)
    nameless = found.get("", [])
    if nameless and len(set(bags)) > 1:
        reason = f"the case of stamp {nameless[0][1].stamp_ns} names no bag, and {len(set(bags))} bags are evaluated"
        raise FileError(path, reason, 'write "bag": "run1.mcap" into every case')
    own = [*nameless, *found.get(_key(uri, Path()), [])]
    if not own:
        named = sorted({several[0][1].bag for several in found.values()})
        more = f" and {len(named) - _MOST_NAMED} more" if len(named) > _MOST_NAMED else ""
        raise FileError(path, f"there is no case of {uri}; its cases are of {', '.join(named[:_MOST_NAMED])}{more}",
                        "correct `bag`: the bag's URI, or its path relative to this file")  # fmt: skip
    return tuple(case for _, case in sorted(own, key=lambda numbered: numbered[0]))


def _key(name: str, folder: Path) -> str:
    """The same for all names of a bag: an address as it is, else the whole path."""
    return name if "://" in name else str((folder / name).resolve())


_Numbered = tuple[int, Case]


def _by_bag(path: str | Path) -> dict[str, list[_Numbered]]:
    """The cases by bag, "" for those that name none, each with its place in the file.

    Raises:
        FileError: as `load_truth`.
    """
    try:
        state = Path(path).stat()
    except OSError:
        return _read_by_bag(path, (0, 0))  # which says what is wrong
    return _read_by_bag(path, (state.st_mtime_ns, state.st_size))


@lru_cache(maxsize=4)  # one file may hold the truth of thousands of bags
def _read_by_bag(path: str | Path, _state: tuple[int, int]) -> dict[str, list[_Numbered]]:
    found: dict[str, list[_Numbered]] = {}
    for number, case in enumerate(load_truth(path)):
        key = _key(case.bag, Path(path).parent) if case.bag else ""
        found.setdefault(key, []).append((number, case))
    return found
