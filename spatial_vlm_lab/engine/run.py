# SPDX-License-Identifier: Apache-2.0
"""Runs an evaluation into a folder: stores parts, resumes, and merges them.

    run.json        configuration, its hash, and the plan: the shards in their order
    parts/          one Parquet file a shard, named by the hash of content and configuration
    rows.parquet    all rows in the order of the plan
    outcome.json    how many cases were evaluated, and which were not, with the reason
    lock.json       while an evaluation writes here

A folder is the same, byte by byte, for every engine, number of workers and history of resumes. The metadata of a part
has its shard's key and the hash of its rows, so a truncated, damaged or foreign file is detected.

The folder is on a disk or in an object store, whose files are put by one request, whole or not at all. So a kill, a
full disk or a lost network never leaves half a file under its name. `lock.json` names the process that writes, its host
and the time of its last sign of life, which a thread renews. A lock is stale if its process is gone (told at once on
the same machine), or if no sign of life came for STALE_S seconds.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_lab.engine.engines import LocalEngine, NotEvaluated, Outcome, Setup, Shard, ShardAnswers, digest
from spatial_vlm_lab.scoring.case_result import Row, check_installed, rows_schema, rows_table
from spatial_vlm_ros.errors import FileError, FolderInUseError, RunMismatchError, StoreError
from spatial_vlm_ros.files.writing import PART, write_bytes
from spatial_vlm_ros.recording.bags.remote import filesystem, is_remote, joined, local_path, name_of, told

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
    """Result of an evaluation; `missing` are the shards without rows, in the order of the plan."""

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
    engine: LocalEngine,
    configuration: Mapping[str, Any],
    *,
    resume: bool = False,
    watch: Callable[[Outcome], None] | None = None,
) -> MergedRun:
    """Evaluate shards into a folder; each part is stored as soon as it is finished, and all rows in rows.parquet."""
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
    """Yield the rows of an evaluation in the order of its plan, part by part."""
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


# ------------------------------------------------------------------------------------------------ files and lock


LOCK = "lock.json"
BEAT_S, STALE_S = 15.0, 300.0
LEFT_S = 60.0
"""Seconds after which an unfinished lock was left by a process that was killed."""
_TRIES = 5

_log = logging.getLogger(__name__)


class ResultStore:
    """A folder of results, created if it is local. All methods raise StoreError if the disk or store fails."""

    def __init__(self, uri: str) -> None:
        self._folder = None if is_remote(uri) else local_path(uri).absolute()
        self.uri = uri.rstrip("/") if self._folder is None else str(local_path(uri))
        if self._folder is not None:
            with told(self.uri):
                self._folder.mkdir(parents=True, exist_ok=True)
        self._fs, self._root = filesystem(self.uri)

    def read(self, name: str) -> bytes | None:
        """Read a whole file; None if it does not exist."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            return bytes(self._fs.cat_file(self._path(name)))
        return None

    def write(self, name: str, data: bytes, *, replaces: bool = True) -> bool:
        """Write a file whole or not at all; returns False if it exists and must not be replaced.

        For that an object store must know conditional requests ("If-None-Match"), as S3 does.
        """
        with told(joined(self.uri, name)):
            try:
                if self._folder is None:
                    self._fs.pipe_file(self._path(name), data, **({} if replaces else {"mode": "create"}))
                else:
                    write_bytes(self._folder / name, data, force=replaces)
            except FileExistsError:
                return False
            except FileError as error:
                if not replaces and Path(self._path(name)).exists():
                    return False
                raise (error.__cause__ or error) from error
        return True

    def remove(self, name: str) -> None:
        """Remove a file if it exists."""
        with told(joined(self.uri, name)), contextlib.suppress(FileNotFoundError):
            self._fs.rm_file(self._path(name))

    def names(self, folder: str = "") -> set[str]:
        """Names of the files in the folder, or in a folder of it."""
        path = self._path(folder)
        with told(joined(self.uri, folder)), contextlib.suppress(FileNotFoundError):
            self._fs.invalidate_cache(path)
            listed = (name_of(name) for name in self._fs.ls(path, detail=False))
            return {name for name in listed if name and not name.endswith(PART)}
        return set()

    def tidy(self) -> None:
        """Remove what killed writers left in a local folder; only for the holder of its lock."""
        with told(self.uri):
            for part in [] if self._folder is None else self._folder.rglob(f".*{PART}"):
                is_lock = part.name.startswith(f".{LOCK}.")  # a new one is of a process that asks for the lock
                with contextlib.suppress(FileNotFoundError):
                    if not is_lock or time.time() - part.stat().st_mtime > LEFT_S:
                        part.unlink()

    def _path(self, name: str) -> str:
        return f"{self._root.rstrip('/')}/{name}".rstrip("/")


# ------------------------------------------------------------------------------------------------ lock


@dataclass(frozen=True)
class LockOwner:
    """Holder of a lock."""

    host: str
    boot: str
    pid: int
    born: str  # start of the process in the machine's ticks; a later one may have the same id
    token: str
    since: float  # when the lock was taken, seconds since 1970
    seen: float  # last sign of life, seconds since 1970

    @classmethod
    def this_process(cls) -> LockOwner:
        """This process, now."""
        now = time.time()
        return cls(socket.gethostname(), _boot(), os.getpid(), _born(os.getpid()), secrets.token_hex(8), now, now)

    def is_gone(self) -> bool:
        """Whether the process has certainly ended, as far as this machine can tell."""
        if (self.host, self.boot) == (socket.gethostname(), _boot()):
            return _born(self.pid) != self.born
        return time.time() - self.seen > STALE_S

    def in_use(self, uri: str, repair: str) -> FolderInUseError:
        """The error for a folder that it holds."""
        now, name = time.time(), f"process {self.pid} on {self.host}"
        return FolderInUseError(uri, name, max(now - self.since, 0.0), max(now - self.seen, 0.0), repair)


@contextmanager
def locked(store: ResultStore) -> Iterator[Callable[[], None]]:
    """Hold the lock of a folder; gives a function that raises FolderInUseError once another process has taken it."""
    ours = LockOwner.this_process()
    done, lost = threading.Event(), threading.Event()

    def is_ours() -> bool:
        found = _found(store)
        return found is not None and found.token == ours.token

    def beat() -> None:
        while not done.wait(BEAT_S):
            try:
                if not is_ours():
                    lost.set()
                    return
                store.write(LOCK, msgspec.json.encode(replace(ours, seen=time.time())))
            except StoreError as error:  # the store may come back; others see how old the last sign of life is
                _log.warning("the lock could not be refreshed: %s", error)

    def check() -> None:
        if lost.is_set():
            repair = "This process was stopped for a long time, and another one has taken over. End this one."
            raise (_found(store) or ours).in_use(store.uri, repair)

    def release() -> None:
        done.set()
        thread.join(BEAT_S)
        if is_ours():
            store.remove(LOCK)

    for _ in range(_TRIES):
        if store.write(LOCK, msgspec.json.encode(ours), replaces=False):
            break
        found = _found(store)
        if found is not None and not found.is_gone():
            repair = f"Wait until it has ended. If that process no longer exists, remove {LOCK} from the folder."
            raise found.in_use(store.uri, repair)
        if found is not None:
            _log.warning("the lock of %s is stale: process %d on %s is gone", store.uri, found.pid, found.host)
        if _found(store) == found:  # a damaged one was written by no one who lives
            store.remove(LOCK)
    else:
        raise FolderInUseError(store.uri, "a process that starts at the same time", 0.0, 0.0, "Try again.")
    thread = threading.Thread(target=beat, name="evaluation-lock", daemon=True)
    thread.start()
    try:
        yield check
    except BaseException:
        try:
            release()
        except StoreError as problem:
            _log.warning("the lock was not removed: %s", problem)
        raise
    release()


def _found(store: ResultStore) -> LockOwner | None:
    try:
        return msgspec.json.decode(store.read(LOCK) or b"", type=LockOwner)
    except msgspec.DecodeError:
        return None


def _boot() -> str:
    """Which start of this machine; "" if the system does not say."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def _born(pid: int) -> str:
    """When a process began, in ticks of this machine; "" if there is none, or one that was not waited for.

    Source: proc(5), /proc/[pid]/stat: the name stands in parentheses, state is field 3, starttime field 22.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] in "ZX" else fields[19]
