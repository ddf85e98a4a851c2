# SPDX-License-Identifier: Apache-2.0
"""The truth of bags: a file of cases that name stamps, and which of them are of which bag.

Knows the file and the names of bags; knows nothing of what is in them. docs/evaluate.md describes the form.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from spatial_vlm_ros.errors import FileError
from spatial_vlm_ros.evaluation.case import Case
from spatial_vlm_ros.evaluation.frame_folder import CASE_REPAIR, read_cases


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
    cases, several = load_truth(path), len(set(bags)) > 1
    nameless = next((case for case in cases if not case.bag), None)
    if several and nameless is not None:
        reason = f"the case of stamp {nameless.stamp_ns} names no bag, and {len(set(bags))} bags are evaluated"
        raise FileError(path, reason, 'write "bag": "run1.mcap" into every case')
    own = tuple(case for case in cases if not case.bag or is_same_bag(case.bag, uri, Path(path).parent))
    if not own:
        named = ", ".join(sorted({case.bag for case in cases}))
        raise FileError(path, f"there is no case of {uri}; its cases are of {named}",
                        "correct `bag`: the bag's URI, or its path relative to this file")  # fmt: skip
    return own


def is_same_bag(name: str, uri: str, folder: Path) -> bool:
    """Whether a name in a file of truth means a bag: it is its URI, or a path from the file's folder."""
    if name == uri:
        return True
    if "://" in name or "://" in uri:
        return False
    return (folder / name).resolve() == Path(uri).resolve()
