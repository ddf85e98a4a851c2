# SPDX-License-Identifier: Apache-2.0
"""Tasks for the engines, which worker processes load by name; and whole evaluations run as a program. Not a test."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import sys
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from spatial_vlm_lab.engine.engines import LocalEngine, Shard, ShardAnswers, digest
from spatial_vlm_lab.engine.run import evaluate_shards
from spatial_vlm_lab.scoring.case_result import Row
from spatial_vlm_ros.errors import DepthError, InputError

CONFIGURATION = {"models": ["made up"], "version": "1"}


def shards_of(count: int, cases: int = 3) -> list[Shard]:
    """Shards of so many cases each, of one made-up source."""
    names = [tuple(f"f{n:03}: case {k}" for k in range(cases)) for n in range(count)]
    return [Shard("made/up", f"piece {n}", titles, digest([n, cases]), n) for n, titles in enumerate(names)]


@dataclass(frozen=True)
class MadeUp:
    """A setup whose task fails for shard N by files of a folder, `die-N` and `exit-N` once and `always-N` always."""

    folder: str | None = None
    seconds: float = 0.0
    bad: tuple[int, ...] = ()
    broken: bool = False

    def __call__(self) -> MadeUp.Task:
        if self.broken:
            raise InputError("weights", "none", "a folder of them", "name one")
        if self.folder is not None:
            Path(self.folder, f"started-{os.getpid()}").touch()
        return MadeUp.Task(self)

    @dataclass(frozen=True)
    class Task:
        setup: MadeUp

        def __call__(self, shard: Shard) -> ShardAnswers:
            number: int = shard.payload
            if self.setup.folder is not None:
                folder, killed = Path(self.setup.folder), partial(os.kill, os.getpid(), signal.SIGKILL)
                if (folder / f"always-{number}").exists():
                    killed()
                for name, end in (("die", killed), ("exit", partial(os._exit, 7))):
                    if (folder / f"{name}-{number}").exists():
                        (folder / f"{name}-{number}").unlink()
                        end()
            if number in self.setup.bad:
                raise DepthError(f"frame {number} has no depth", "record it again")
            time.sleep(self.setup.seconds)
            rows = tuple(self._row(number, k, words) for k, words in enumerate(shard.cases))
            return ShardAnswers(rows, (f"piece {number} is made up",) if number % 5 == 2 else ())

        @staticmethod
        def _row(number: int, k: int, words: str) -> Row:
            value = int(hashlib.sha256(words.encode()).hexdigest()[:8], 16)
            return {
                "frame": f"f{number:03}", "instruction": words, "kind": ["made up", str(k)], "right": value % 2 == 0,
                "confidence": value / 2**32, "stamp_ns": number * 10**9 + k, "id": None if value % 3 else f"d{k}",
            }  # fmt: skip


class DiesAtStart(MadeUp):
    """A setup whose workers end before they work."""

    def __call__(self) -> MadeUp.Task:
        os._exit(9)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def main() -> None:
    """Run an evaluation as a program: JSON of its arguments on the command line."""
    given = json.loads(sys.argv[1])
    engine = LocalEngine(given["workers"])
    setup = MadeUp(given.get("control"), given.get("seconds", 0.0))
    done = evaluate_shards(
        setup, shards_of(given["shards"]), given["out"], engine, CONFIGURATION, resume=given.get("resume", False),
        watch=lambda _: os.write(1, b"shard\n"),
    )  # fmt: skip
    print(done.summary(), flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
