# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation into a folder: stores parts, resumes, and merges them.

    run.json        configuration, its hash, and the plan: the shards in their order
    parts/          one Parquet file a shard, named by the hash of content and configuration
    rows.parquet    all rows in the order of the plan
    outcome.json    how many cases were evaluated, and which were not, with the reason
    lock.json       while an evaluation writes here

A folder is the same, byte by byte, for every engine, number of workers and history of resumes.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from spatial_vlm_lab.engine.engines import Engine
from spatial_vlm_lab.engine.shards import (
    NotEvaluated,
    Outcome,
    Setup,
    Shard,
    ShardAnswers,
    digest,
    needed_parquet,
    part_answers,
    part_bytes,
    part_name,
    write_merged,
)
from spatial_vlm_lab.engine.store import LOCK, FolderLock, ResultStore, open_store
from spatial_vlm_lab.scoring.rows import Row
from spatial_vlm_ros.errors import RunMismatchError, StoreError
from spatial_vlm_ros.recording.uris import told

RUN, ROWS, OUTCOME = "run.json", "rows.parquet", "outcome.json"


@dataclass(frozen=True)
class MergedRun:
    """Result of an evaluation.

    Args:
        evaluated: number of cases with a row.
        missing: shards without rows, in the order of the plan.
    """

    folder: str
    cases: int
    evaluated: int
    missing: tuple[NotEvaluated, ...]
    notes: tuple[str, ...] = ()
    reused: int = 0
    seconds: float = field(compare=False, default=0.0)

    @property
    def is_whole(self) -> bool:
        """Whether every case has a row."""
        return not self.missing

    def summary(self) -> str:
        """One sentence on what was and was not evaluated."""
        if self.is_whole:
            return f"all {self.cases} cases were evaluated"
        names = "; ".join(f"{one.shard.name} ({len(one.shard.cases)} cases: {one.reason})" for one in self.missing[:3])
        more = f"; and {len(self.missing) - 3} more, see {OUTCOME}" if len(self.missing) > 3 else ""
        return f"{self.cases - self.evaluated} of {self.cases} cases were not evaluated: {names}{more}"


def evaluate_shards(
    setup: Setup,
    shards: Sequence[Shard],
    folder: str | Path,
    engine: Engine,
    configuration: Mapping[str, Any],
    *,
    resume: bool = False,
    watch: Callable[[Outcome], None] | None = None,
) -> MergedRun:
    """Evaluate shards into a folder; each part is stored as soon as it is finished.

    Args:
        configuration: everything that rows depend on but for the data, JSON-like: models, options, version.

    Returns:
        The result; the rows are in `rows.parquet` of the folder, and `run_rows` reads them.
    """
    needed_parquet()
    store = open_store(str(folder))
    with FolderLock(store) as lock:
        configured = digest(dict(configuration))
        _check_folder(store, configured, configuration, resume)
        store.tidy()
        keys = [shard.key(configured) for shard in shards]
        planned = [
            {"key": key, "source": shard.source, "name": shard.name, "cases": len(shard.cases)}
            for shard, key in zip(shards, keys, strict=True)
        ]
        plan = {"digest": configured, "configuration": dict(configuration), "shards": planned}
        store.write(RUN, _json(plan))
        there = store.names("parts") if resume else set()
        due: dict[str, Shard] = {}
        kept = 0
        for shard, key in zip(shards, keys, strict=True):
            if f"{key}.parquet" in there and _stored(store, key) is not None:
                kept += 1
            else:
                due.setdefault(key, shard)
        missing: dict[str, NotEvaluated] = {}
        seconds, stored = 0.0, kept
        for outcome in engine.run(setup, list(due.values())):
            key = outcome.shard.key(configured)
            if isinstance(outcome, NotEvaluated):
                missing[key] = outcome
            else:
                lock.check()
                try:
                    store.write(part_name(key), part_bytes(outcome.answers, key))
                except StoreError as error:
                    done = f"{stored} of {len(shards)} parts are stored and kept"
                    repair = f"{error.repair.rstrip('.')}; then run the same command with --resume: {done}."
                    raise StoreError(error.uri, error.reason.removeprefix(f"{error.uri}: "), repair) from error
                stored += 1
                seconds += outcome.seconds
            if watch is not None:
                watch(outcome)
        lock.check()
        return _merged(store, shards, keys, missing, {"configuration": configured}, kept, seconds)


def run_rows(folder: str | Path) -> Iterator[Row]:
    """Yield the rows of an evaluation in the order of its plan, part by part.

    Raises:
        RunMismatchError: the folder holds no evaluation.
        StoreError: it cannot be read.
    """
    store = open_store(str(folder))
    plan = _plan(store)
    if plan is None:
        raise RunMismatchError(store.uri, f"holds no {RUN}", "Pass a folder that `spatial-vlm evaluate --out` wrote.")
    for shard in plan["shards"]:
        answers = _stored(store, shard["key"])
        yield from () if answers is None else answers.rows


# ------------------------------------------------------------------------------------------------ the folder


def _check_folder(store: ResultStore, configured: str, configuration: Mapping[str, Any], resume: bool) -> None:
    other = "choose another folder with --out"
    plan = _plan(store)
    if plan is None:
        strange = sorted(store.names() - {LOCK, RUN, "parts"})
        if strange:
            listed = ", ".join(strange[:3]) + (" and more" if len(strange) > 3 else "")
            raise RunMismatchError(store.uri, f"holds something else: {listed}", f"{other.capitalize()}.")
        return
    if plan["digest"] != configured:
        before = plan["configuration"]
        names = sorted(name for name in {*before, *configuration} if before.get(name) != configuration.get(name))
        changed = ", ".join(f"{name} was {json.dumps(before.get(name))[:80]}" for name in names[:3])
        reason = f"holds an evaluation of another configuration: {changed or 'its format differs'}"
        raise RunMismatchError(store.uri, reason, f"{other.capitalize()}, or use the same models, options and version.")
    if not resume:
        done = len(store.names("parts") & {f"{shard['key']}.parquet" for shard in plan["shards"]})
        reason = f"holds {done} of {len(plan['shards'])} parts of this evaluation"
        raise RunMismatchError(store.uri, reason, f"Continue it with --resume, or {other}.")


def _plan(store: ResultStore) -> dict[str, Any] | None:
    data = store.read(RUN)
    if data is None:
        return None
    try:
        plan = json.loads(data)
        well = isinstance(plan["digest"], str) and isinstance(plan["configuration"], dict)
        if well and all(isinstance(shard["key"], str) for shard in plan["shards"]):
            return dict(plan)
    except (ValueError, KeyError, TypeError):
        pass
    raise RunMismatchError(store.uri, f"holds a {RUN} that is damaged", "Choose another folder with --out.")


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------ parts


def _stored(store: ResultStore, key: str) -> ShardAnswers | None:
    data = store.read(part_name(key))
    return None if data is None else part_answers(data, key)


def _merged(
    store: ResultStore, shards: Sequence[Shard], keys: Sequence[str], missing: Mapping[str, NotEvaluated],
    about: Mapping[str, str], kept: int, seconds: float,
) -> MergedRun:  # fmt: skip
    gone, notes = dict(missing), dict[str, None]()

    def parts() -> Iterator[tuple[Row, ...]]:
        for shard, key in zip(shards, keys, strict=True):
            answers = _stored(store, key) if key not in gone else None
            if answers is None:
                gone.setdefault(key, NotEvaluated(shard, "its part is damaged or was removed while this ran"))
            else:
                notes.update(dict.fromkeys(answers.notes))
                yield answers.rows

    with told(store.uri), tempfile.TemporaryDirectory(prefix="spatial_vlm_rows_") as folder:
        path = Path(folder, ROWS)
        evaluated = write_merged(path, parts(), about)
        store.write_from(ROWS, path)
    absent = tuple(NotEvaluated(shard, gone[key].reason, gone[key].status) for shard, key in zip(
        shards, keys, strict=True) if key in gone)  # fmt: skip
    cases = sum(len(shard.cases) for shard in shards)
    store.write(OUTCOME, _json({
        "cases": cases,
        "evaluated": evaluated,
        "notes": list(notes),
        "not_evaluated": [
            {"source": one.shard.source, "shard": one.shard.name, "status": one.status, "reason": one.reason,
             "cases": list(one.shard.cases)}
            for one in absent
        ],
    }))  # fmt: skip
    return MergedRun(store.uri, cases, evaluated, absent, tuple(notes), kept, seconds)
