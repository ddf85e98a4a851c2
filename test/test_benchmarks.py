# SPDX-License-Identifier: Apache-2.0
"""Every benchmark runs at its smallest size, and answers --help and an option that it does not have."""

import importlib.util
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from waiting import DEADLINE

from benchmarks import RESULTS_VARIABLE
from benchmarks.__main__ import ACCURACY, PARTS, SPEED, file_of, main, run
from benchmarks.harness import arguments, in_processes, spreads

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = (ROOT / "benchmarks", ROOT / "research" / "experiments")
RESULTS = (ROOT / "benchmarks" / "results", ROOT / "research" / "results")
SLOWEST_S = 30 * DEADLINE


FILES = [path for folder in FOLDERS for path in folder.glob("*.py") if path.stem != "__main__"]
RUNNABLE = sorted(path.stem for path in FILES if '\nif __name__ == "__main__":' in path.read_text(encoding="utf-8"))
"""What does something when it is run as a module."""


def command(results: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, RESULTS_VARIABLE: str(results)}
    return subprocess.run([sys.executable, "-m", "benchmarks", *arguments], cwd=ROOT, env=environment, text=True,
                          capture_output=True, timeout=SLOWEST_S, check=False)  # fmt: skip


def kept() -> dict[Path, int]:
    """When each file of results was written, nanoseconds."""
    return {path: path.stat().st_mtime_ns for folder in RESULTS for path in folder.rglob("*")}


def test_every_benchmark_has_a_name_and_a_smallest_size() -> None:
    assert sorted(PARTS) == RUNNABLE


@pytest.mark.live
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[pytest.mark.slow] if name in PARTS and PARTS[name].slow else []) for name in RUNNABLE],
)
def test_a_benchmark_runs_at_its_smallest_size(name: str, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    if name in ("evidence_limits", "grasping", "obstacles", "caution", "capabilities", "taught"):
        request.getfixturevalue("real_frames")
    missing = [package for package in PARTS[name].needs if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"{name} needs {', '.join(missing)}")
    before = kept()
    done = command(tmp_path, "--smallest", name)
    assert done.returncode == 0, done.stdout + done.stderr
    written = [json.loads(path.read_text(encoding="utf-8")) for path in tmp_path.rglob("*.json")]
    assert all(written)
    assert written or "nothing is kept" in done.stdout
    assert kept() == before


IMPORTED = """
import contextlib, importlib, io, json, sys
for name, smallest in json.loads(sys.argv[1]).items():
    main, first = importlib.import_module(name).main, sys.modules[name].__doc__.splitlines()[0]
    for asked, code, words in ((["--help"], 0, first), ([*smallest, "--no-such-option"], 2, "ts: --no-such-option\\n")):
        sys.argv = [name, *asked]
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                main()
        except SystemExit as ended:
            assert ended.code == code, (name, asked, ended.code)
        assert words in said.getvalue(), (name, asked, said.getvalue())
"""


@pytest.mark.live
def test_every_benchmark_that_needs_no_model_answers_help_and_knows_the_options_of_its_smallest_size() -> None:
    """The slow ones, too: none is broken by a name that is gone."""
    heavy = {"torch", "transformers", "atheris", "rclpy"}
    smallest = {
        f"{part.package}.{name}": part.smallest for name, part in PARTS.items()
        if not heavy & set(part.needs) and all(map(importlib.util.find_spec, part.needs))
    }  # fmt: skip
    assert len(smallest) > 20
    done = subprocess.run([sys.executable, "-c", IMPORTED, json.dumps(smallest)], cwd=ROOT, text=True,
                          capture_output=True, timeout=SLOWEST_S, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.live
def test_the_list_names_every_benchmark(tmp_path: Path) -> None:
    done = command(tmp_path, "--list")
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == list(PARTS)
    assert all(len(line.split()) > 3 for line in done.stdout.splitlines())


@pytest.mark.parametrize("arguments", [("gaols",), ("--smallest", "gaols"), ("--everything",)])
def test_an_unknown_name_is_refused_with_the_names(capsys: pytest.CaptureFixture[str], arguments: list[str]) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr().err
    assert f"{arguments[-1]}: no such benchmark" in said
    assert all(f"  {name} " in said for name in PARTS)


@pytest.mark.live
def test_a_benchmark_that_fails_is_named_and_ends_no_others(tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv(RESULTS_VARIABLE, str(tmp_path))
    assert run([("replies", "--n", "1", "--no-such-option"), ("sentences", "--n", "1")], smallest=False) == [2, 0]
    assert [path.name for path in tmp_path.iterdir()] == ["sentences.json"]
    assert main(["replies", "--n", "1", "--no-such-option"]) == 1
    assert "1 of 1 benchmarks failed: replies with 2" in capsys.readouterr().err


def test_the_whole_is_speed_with_the_check_and_accuracy_without(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, ...]] = []

    def note(commands: list[tuple[str, ...]], smallest: bool) -> list[int]:
        asked.extend(commands)
        return [int(smallest)] * len(commands)

    monkeypatch.setattr("benchmarks.__main__.run", note)
    assert main(["--check"]) == 0
    assert asked == [*((name, "--check") for name in SPEED), *((name,) for name in ACCURACY)]
    asked.clear()
    assert main(["--smallest"]) == 1
    assert asked == [(name, *PARTS[name].smallest) for name in (*SPEED, *ACCURACY)]


def test_the_page_of_benchmarks_has_every_name() -> None:
    named = re.findall(r"^- \*\*`(\w+)`\*\*", (ROOT / "docs" / "benchmarks.md").read_text(), re.MULTILINE)
    assert sorted(named) == sorted(PARTS)


DOC = """One line.

More of it.
"""


def given(monkeypatch: pytest.MonkeyPatch, *asked: str) -> dict[str, object]:
    monkeypatch.setattr(sys, "argv", ["made", *asked])
    return vars(arguments(DOC, n=3, share=0.5, robot="", add=False, noise=("none", "tof"), only=[str], frames=Path))


def test_options_have_the_type_of_their_default(monkeypatch: pytest.MonkeyPatch) -> None:
    unasked = {"n": 3, "share": 0.5, "robot": "", "add": False, "noise": "none"}
    assert given(monkeypatch) == {**unasked, "only": [], "frames": None, "check": False}
    asked = ["--n=5", "--share", "1", "--robot", "a=b", "--add", "--noise", "tof", "--only", "on", "--only", "in", "at"]
    changed = {"n": 5, "share": 1.0, "robot": "a=b", "add": True, "noise": "tof", "only": ["on", "in", "at"]}
    assert given(monkeypatch, *asked, "--frames", "x", "--check") == {**changed, "frames": Path("x"), "check": True}


@pytest.mark.parametrize(
    "asked",
    ["--help", "-h", "--n 4 --help", "--none --help", "--m 4", "--n 4 --m=4", "--rob a", "--noise loud", "--n a"],
)
def test_help_ends_with_0_and_an_unknown_option_or_value_with_2_and_the_known_ones(
    asked: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(SystemExit) as ended:
        given(monkeypatch, *asked.split())
    said, first, last = capsys.readouterr(), asked.split()[0], asked.split()[-1]
    if last in ("--help", "-h"):
        assert (ended.value.code, DOC in said.out) == (0, True)
        assert all(f"  --{name}" in said.out for name in ("n", "share", "robot", "add", "noise", "only", "frames"))
        return
    assert ended.value.code == 2
    assert (said.out, "--robot" in said.err, last in said.err or first in said.err) == ("", True, True)


# Some by the command that a person types; the others, which import much, are slow.
@pytest.mark.live
@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=[] if name in ("lifting", "accuracy") else [pytest.mark.slow]) for name in PARTS],
)
def test_the_command_answers_help_and_refuses_an_unknown_option_without_work(name: str) -> None:
    if name == "lifting":
        pytest.importorskip("open3d")
    module, root = f"{PARTS[name].package}.{name}", file_of("lifting").parents[1]
    helped, refused = (
        subprocess.run([sys.executable, "-m", module, option], cwd=root, text=True, check=False,
                       timeout=4 * DEADLINE, capture_output=True)
        for option in ("--help", "--no-such-option")
    )  # fmt: skip
    assert helped.returncode == 0, helped.stderr
    first = file_of(name).read_text(encoding="utf-8").split('"""')[1].splitlines()[0]
    assert first in helped.stdout
    assert refused.returncode == 2, refused.stderr
    assert "--no-such-option" in refused.stderr


@pytest.mark.live
def test_jobs_run_in_processes_until_the_end_or_until_the_results_are_enough() -> None:
    jobs = [(n, 10) for n in range(6)]
    assert sorted(in_processes(divmod, jobs, 2)) == [divmod(*job) for job in jobs]
    assert len(list(in_processes(divmod, jobs, 2, end=0.0))) == 2  # those that had begun
    results = in_processes(divmod, iter(jobs))
    assert [next(results), next(results)] == [(0, 0), (0, 1)]
    results.close()


def test_a_spread_has_its_values_in_order_and_none_without_values() -> None:
    assert spreads({"a": [1.0, 3.0, 2.0], "none": []}, 1) == {"a": {"p50": 2.0, "p95": 2.9, "most": 3.0, "n": 3}}


def test_the_whole_answers_help_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    assert "--smallest" in capsys.readouterr().out
