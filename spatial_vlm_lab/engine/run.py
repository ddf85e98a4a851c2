# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation into a folder: stores parts, resumes, and merges them.

    run.json        configuration, its hash, and the plan: the shards in their order
    parts/          one Parquet file a shard, named by the hash of content and configuration
    rows.parquet    all rows in the order of the plan
    outcome.json    how many cases were evaluated, and which were not, with the reason
    lock.json       while an evaluation writes here

A folder is the same, byte by byte, for every engine, number of workers and history of resumes. The metadata of a part
has its shard's key and the hash of its rows, so a truncated, damaged or foreign file is detected.
"""

from __future__ import annotations

import io
import itertools
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_lab.engine.engines import Engine, NotEvaluated, Outcome, Setup, Shard, ShardAnswers, digest
from spatial_vlm_lab.engine.store import LOCK, ResultStore, locked
from spatial_vlm_lab.scoring.rows import Row, check_installed, rows_schema, rows_table
from spatial_vlm_ros.errors import RunMismatchError, StoreError

RUN, ROWS, OUTCOME = "run.json", "rows.parquet", "outcome.json"
ABOUT = b"spatial_vlm_ros"
"""Key of our own metadata in a Parquet file: JSON."""
FORM = 1
ROWS_IN_GROUP = 65_536
_SETTINGS: dict[str, Any] = {
    "compression": "zstd", "version": "2.6", "use_dictionary": True, "write_statistics": True, "store_schema": True,
}  # fmt: skip
_OTHER = "Choose another folder with --out"


class _PlannedShard(msgspec.Struct):
    key: str
    source: str
    name: str
    cases: int


class _RunPlan(msgspec.Struct):
    """Content of run.json."""

    digest: str
    configuration: dict[str, Any]
    shards: list[_PlannedShard]


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
    check_installed()
    store = ResultStore(str(folder))
    with locked(store) as check_lock:
        configured = digest(dict(configuration))
        _check_folder(store, configured, configuration, resume)
        store.tidy()
        keyed = [(shard.key(configured), shard) for shard in shards]
        planned = [_PlannedShard(key, shard.source, shard.name, len(shard.cases)) for key, shard in keyed]
        _write_json(store, RUN, _RunPlan(configured, dict(configuration), planned))
        there = store.names("parts") if resume else set()
        kept = {key for key, _ in keyed if f"{key}.parquet" in there and _stored(store, key) is not None}
        reused = stored = sum(key in kept for key, _ in keyed)
        due: dict[str, Shard] = {}
        for key, shard in keyed:
            if key not in kept:
                due.setdefault(key, shard)
        missing: dict[str, NotEvaluated] = {}
        for outcome in engine.run(setup, list(due.values())):
            key = outcome.shard.key(configured)
            if isinstance(outcome, NotEvaluated):
                missing[key] = outcome
            else:
                check_lock()
                try:
                    store.write(_part(key), part_bytes(outcome.answers, key))
                except StoreError as error:
                    done = f"{stored} of {len(shards)} parts are stored and kept"
                    repair = f"{error.repair.rstrip('.')}; then run the same command with --resume: {done}."
                    raise StoreError(error.uri, error.reason.removeprefix(f"{error.uri}: "), repair) from error
                stored += 1
            if watch is not None:
                watch(outcome)
        check_lock()
        notes = dict[str, None]()

        def parts() -> Iterator[tuple[Row, ...]]:
            for key, shard in keyed:
                answers = _stored(store, key) if key not in missing else None
                if answers is None:
                    missing.setdefault(key, NotEvaluated(shard, "its part is damaged or was removed while this ran"))
                else:
                    notes.update(dict.fromkeys(answers.notes))
                    yield answers.rows

        from pyarrow import parquet

        rows, sink, evaluated = itertools.chain.from_iterable(parts()), io.BytesIO(), 0
        schema = rows_schema().with_metadata(_metadata(configuration=configured))
        with parquet.ParquetWriter(sink, schema, **_SETTINGS) as file:
            while group := list(itertools.islice(rows, ROWS_IN_GROUP)):  # so many are in memory as rows
                file.write_table(rows_table(group))
                evaluated += len(group)
        store.write(ROWS, sink.getvalue())
        absent = tuple(replace(missing[key], shard=shard) for key, shard in keyed if key in missing)
        cases = sum(len(shard.cases) for _, shard in keyed)
        _write_json(store, OUTCOME, {
            "cases": cases,
            "evaluated": evaluated,
            "notes": list(notes),
            "not_evaluated": [
                {"source": one.shard.source, "shard": one.shard.name, "status": one.status, "reason": one.reason,
                 "cases": list(one.shard.cases)}
                for one in absent
            ],
        })  # fmt: skip
        return MergedRun(store.uri, cases, evaluated, absent, tuple(notes), reused)


def run_rows(folder: str | Path) -> Iterator[Row]:
    """Yield the rows of an evaluation in the order of its plan, part by part.

    Raises:
        RunMismatchError: the folder holds no evaluation.
        StoreError: it cannot be read.
    """
    store = ResultStore(str(folder))
    plan = _plan(store)
    if plan is None:
        raise RunMismatchError(store.uri, f"holds no {RUN}", "Pass a folder that `spatial-vlm evaluate --out` wrote.")
    for shard in plan.shards:
        answers = _stored(store, shard.key)
        yield from () if answers is None else answers.rows


# ------------------------------------------------------------------------------------------------ the folder


def _check_folder(store: ResultStore, configured: str, configuration: Mapping[str, Any], resume: bool) -> None:
    plan = _plan(store)
    if plan is None:
        strange = sorted(store.names() - {LOCK, RUN, "parts"})
        if strange:
            listed = ", ".join(strange[:3]) + (" and more" if len(strange) > 3 else "")
            raise RunMismatchError(store.uri, f"holds something else: {listed}", f"{_OTHER}.")
    elif plan.digest != configured:
        before = plan.configuration
        names = sorted(name for name in {*before, *configuration} if before.get(name) != configuration.get(name))
        changed = ", ".join(f"{name} was {json.dumps(before.get(name))[:80]}" for name in names[:3])
        reason = f"holds an evaluation of another configuration: {changed or 'its format differs'}"
        raise RunMismatchError(store.uri, reason, f"{_OTHER}, or use the same models, options and version.")
    elif not resume:
        done = len(store.names("parts") & {f"{shard.key}.parquet" for shard in plan.shards})
        reason = f"holds {done} of {len(plan.shards)} parts of this evaluation"
        raise RunMismatchError(store.uri, reason, f"Continue it with --resume, or {_OTHER[0].lower()}{_OTHER[1:]}.")


def _plan(store: ResultStore) -> _RunPlan | None:
    data = store.read(RUN)
    try:
        return None if data is None else msgspec.json.decode(data, type=_RunPlan)
    except msgspec.DecodeError as error:
        raise RunMismatchError(store.uri, f"holds a {RUN} that is damaged", f"{_OTHER}.") from error


def _write_json(store: ResultStore, name: str, value: Any) -> None:
    text = json.dumps(msgspec.to_builtins(value), ensure_ascii=False, allow_nan=False, indent=1)
    store.write(name, f"{text}\n".encode("utf-8", "replace"))


# ------------------------------------------------------------------------------------------------ parts


def part_bytes(answers: ShardAnswers, key: str) -> bytes:
    """Encode the answers of a shard as a Parquet file with its key."""
    from pyarrow import parquet

    table, notes, sink = rows_table(answers.rows), list(answers.notes), io.BytesIO()
    said = _metadata(key=key, notes=notes, digest=digest([table.to_pylist(), notes]))
    parquet.write_table(table.replace_schema_metadata(said), sink, **_SETTINGS)
    return sink.getvalue()


def part_answers(data: bytes, key: str) -> ShardAnswers | None:
    """Decode the answers of a part; None if it is damaged, truncated or another part."""
    from pyarrow import parquet

    try:
        table = parquet.read_table(io.BytesIO(data))
        about = json.loads((table.schema.metadata or {})[ABOUT])
        rows, notes = table.to_pylist(), about["notes"]
    except Exception:  # whatever pyarrow says of damaged bytes
        return None
    good = about.get("form") == FORM and about.get("key") == key and about.get("digest") == digest([rows, notes])
    return ShardAnswers(tuple(rows), tuple(notes)) if good else None


def _metadata(**said: Any) -> dict[bytes, bytes]:
    return {ABOUT: json.dumps({"form": FORM, **said}, separators=(",", ":"), allow_nan=False).encode()}


def _part(key: str) -> str:
    return f"parts/{key}.parquet"


def _stored(store: ResultStore, key: str) -> ShardAnswers | None:
    data = store.read(_part(key))
    return None if data is None else part_answers(data, key)
