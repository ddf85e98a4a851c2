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
import logging
import os
import secrets
import socket
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

from spatial_vlm_lab.engine.parts import (
    RowFields,
    check_pyarrow,
    part_answers,
    part_bytes,
    part_name,
    write_merged,
)
from spatial_vlm_lab.engine.shards import (
    NotEvaluated,
    Outcome,
    Row,
    Setup,
    Shard,
    ShardAnswers,
    configuration_digest,
)
from spatial_vlm_lab.engine.store import ResultStore, open_store
from spatial_vlm_lab.engine.workers import Engine
from spatial_vlm_ros.errors import FolderInUseError, RunMismatchError, StoreError
from spatial_vlm_ros.recording.uris import told

# Locks the folder of an evaluation, and detects whether the locking process is still alive.
#
# The file `lock.json` names host, process and the time of the last sign of life, which a thread renews. A lock is
# stale where its process is gone (told at once on the same machine), or where no sign of life came for STALE_S
# seconds.

LOCK = "lock.json"
BEAT_S, STALE_S = 15.0, 300.0
_TRIES = 5


@dataclass(frozen=True)
class LockOwner:
    """Holder of a lock.

    Args:
        born: start time of the process in the machine's ticks; distinguishes it from a later process with the same id.
        since: when the lock was taken, seconds since 1970.
        seen: last sign of life, seconds since 1970.
    """

    host: str
    boot: str
    pid: int
    born: str
    token: str
    since: float
    seen: float

    @classmethod
    def this_process(cls) -> LockOwner:
        """This process, now."""
        now = time.time()
        return cls(socket.gethostname(), _boot(), os.getpid(), _born(os.getpid()), secrets.token_hex(8), now, now)

    def is_gone(self, now: float) -> bool:
        """Whether the process has certainly ended, as far as this machine can tell."""
        if (self.host, self.boot) == (socket.gethostname(), _boot()):
            return _born(self.pid) != self.born
        return now - self.seen > STALE_S


class FolderLock:
    """Holds the lock of a folder in a `with` statement."""

    def __init__(self, store: ResultStore) -> None:
        self._store = store
        self._owner = LockOwner.this_process()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="evaluation-lock", daemon=True)
        self._lost = False

    def __enter__(self) -> FolderLock:
        for _ in range(_TRIES):
            if self._store.create(LOCK, _bytes(self._owner)):
                self._thread.start()
                return self
            self._take_over()
        raise FolderInUseError(self._store.uri, "a process that starts at the same time", 0.0, 0.0, "Try again.")

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._done.set()
        self._thread.join(BEAT_S)
        try:
            if self._is_ours():
                self._store.remove(LOCK)
        except StoreError as problem:
            if kind is None:
                raise
            _log.warning("the lock was not removed: %s", problem)

    def check(self) -> None:
        """Check that this process still holds the lock."""
        if self._lost:
            found = self._found()
            repair = "This process was stopped for a long time, and another one has taken over. End this one."
            raise _in_use(self._store.uri, found or self._owner, repair)

    def _take_over(self) -> None:
        """Remove a stale lock, or say whose it is."""
        found = self._found()
        if found is None:  # it was given back in this moment, or is damaged: written by no one who lives
            if self._store.read(LOCK) is not None:
                self._store.remove(LOCK)
            return
        if not found.is_gone(time.time()):
            repair = f"Wait until it has ended. If that process no longer exists, remove {LOCK} from the folder."
            raise _in_use(self._store.uri, found, repair)
        _log.warning("the lock of %s is stale: %s is gone", self._store.uri, _words(found))
        if self._found() == found:
            self._store.remove(LOCK)

    def _beat(self) -> None:
        while not self._done.wait(BEAT_S):
            try:
                if not self._is_ours():
                    self._lost = True
                    return
                self._owner = LockOwner(**{**asdict(self._owner), "seen": time.time()})
                self._store.write(LOCK, _bytes(self._owner))
            except StoreError as error:  # the store may come back; others see how old the last sign of life is
                _log.warning("the lock could not be refreshed: %s", error)

    def _is_ours(self) -> bool:
        found = self._found()
        return found is not None and found.token == self._owner.token

    def _found(self) -> LockOwner | None:
        data = self._store.read(LOCK)
        try:
            return None if data is None else LockOwner(**json.loads(data))
        except (ValueError, TypeError):
            return None


def _in_use(uri: str, owner: LockOwner, repair: str) -> FolderInUseError:
    now = time.time()
    return FolderInUseError(uri, _words(owner), max(now - owner.since, 0.0), max(now - owner.seen, 0.0), repair)


def _words(owner: LockOwner) -> str:
    return f"process {owner.pid} on {owner.host}"


def _bytes(owner: LockOwner) -> bytes:
    return json.dumps(asdict(owner), separators=(",", ":")).encode()


def _boot() -> str:
    """Which start of this machine; "" if the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in ticks of this machine; "" if there is none.

    A process that has ended but was not waited for counts as ended.

    Source: proc(5), /proc/[pid]/stat: the name stands in parentheses, state is field 3, starttime field 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]


RUN, ROWS, OUTCOME = "run.json", "rows.parquet", "outcome.json"

_log = logging.getLogger(__name__)


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
    check_pyarrow()
    store = open_store(str(folder))
    with FolderLock(store) as lock:
        configured = configuration_digest(configuration)
        _check_folder(store, configured, configuration, resume)
        store.tidy()
        keys = [shard.key(configured) for shard in shards]
        store.write(RUN, _plan_bytes(configuration, configured, shards, keys))
        there = store.names("parts") if resume else set()
        due: dict[str, Shard] = {}
        kept, fields = 0, RowFields()
        for shard, key in zip(shards, keys, strict=True):
            answers = _stored(store, key) if f"{key}.parquet" in there else None
            if answers is None:
                due.setdefault(key, shard)
            else:
                fields.add(answers.rows)
                kept += 1
        missing: dict[str, NotEvaluated] = {}
        seconds = 0.0
        stored = kept
        for outcome in engine.run(setup, list(due.values())):
            key = outcome.shard.key(configured)
            if isinstance(outcome, NotEvaluated):
                missing[key] = outcome
            else:
                lock.check()
                fields.add(outcome.answers.rows)
                count = len(shards)
                try:
                    store.write(part_name(key), part_bytes(outcome.answers, key))
                except StoreError as error:
                    done = f"{stored} of {count} parts are stored and kept"
                    repair = f"{error.repair.rstrip('.')}; then run the same command with --resume: {done}."
                    raise StoreError(error.uri, error.reason.removeprefix(f"{error.uri}: "), repair) from error
                stored += 1
                seconds += outcome.seconds
            if watch is not None:
                watch(outcome)
        lock.check()
        return _merged(store, shards, keys, missing, {"configuration": configured}, fields, kept, seconds)


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
        changed = _differences(plan["configuration"], configuration)
        reason = f"holds an evaluation of another configuration: {changed}"
        raise RunMismatchError(store.uri, reason, f"{other.capitalize()}, or use the same models, options and version.")
    if not resume:
        done = len(store.names("parts") & {f"{shard['key']}.parquet" for shard in plan["shards"]})
        reason = f"holds {done} of {len(plan['shards'])} parts of this evaluation"
        raise RunMismatchError(store.uri, reason, f"Continue it with --resume, or {other}.")


def _differences(before: Any, now: Mapping[str, Any]) -> str:
    if not isinstance(before, dict):
        return "it cannot be read"
    names = sorted(name for name in {*before, *now} if before.get(name) != now.get(name))
    return ", ".join(f"{name} was {json.dumps(before.get(name))[:80]}" for name in names[:3]) or "its format differs"


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


def _plan_bytes(
    configuration: Mapping[str, Any], configured: str, shards: Sequence[Shard], keys: Sequence[str]
) -> bytes:
    listed = [
        {"key": key, "source": shard.source, "name": shard.name, "cases": len(shard.cases)}
        for shard, key in zip(shards, keys, strict=True)
    ]
    return _json({"digest": configured, "configuration": dict(configuration), "shards": listed})


def _json(value: Any) -> bytes:
    return (json.dumps(value, ensure_ascii=False, allow_nan=False, indent=1) + "\n").encode("utf-8", "replace")


# ------------------------------------------------------------------------------------------------ parts


def _stored(store: ResultStore, key: str) -> ShardAnswers | None:
    data = store.read(part_name(key))
    return None if data is None else part_answers(data, key)


def _merged(
    store: ResultStore, shards: Sequence[Shard], keys: Sequence[str], missing: Mapping[str, NotEvaluated],
    about: Mapping[str, str], fields: RowFields, kept: int, seconds: float,
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
        evaluated = write_merged(path, parts(), fields.kinds(), about)
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
