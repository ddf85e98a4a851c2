# SPDX-License-Identifier: Apache-2.0
"""Ray gives the same folder as one process, also when a worker or the driver is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("ray")
pytest.importorskip("pyarrow")

from engine_tasks import CONFIGURATION, MadeUp, contents, shards_of

from spatial_vlm_ros.errors import DependencyError, EngineUnavailableError, InputError
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.ray_engine import RayEngine, check_address
from spatial_vlm_ros.evaluation.engine.run import evaluate_shards

PROGRAM = Path(__file__).parent / "engine_tasks.py"
LIMIT_S = 120


def expected(folder: Path, shards: int) -> dict[str, bytes]:
    evaluate_shards(MadeUp(), shards_of(shards), folder, LocalEngine(), CONFIGURATION)
    return contents(folder)


def program(out: Path, **given: Any) -> subprocess.Popen[str]:
    """An evaluation on Ray in a process of its own, with a home of its own."""
    home = out.parent / "home"
    home.mkdir(exist_ok=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "HOME": str(home), "PYTHONWARNINGS": "ignore"}
    arguments = json.dumps({"engine": "ray", "out": str(out), **given})
    return subprocess.Popen([sys.executable, str(PROGRAM), arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                            text=True, env=environment)  # fmt: skip


def finished(started: subprocess.Popen[str]) -> str:
    said, errors = started.communicate(timeout=LIMIT_S)
    assert started.returncode == 0, said + errors
    return said


def test_two_workers_of_which_one_dies_give_the_bytes_of_one_process(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    (control / "die-2").touch()
    said = finished(program(tmp_path / "out", workers=2, shards=6, control=str(control)))
    assert said.endswith("all 18 cases were evaluated\n")
    assert contents(tmp_path / "out") == expected(tmp_path / "expected", 6)
    assert not list(control.glob("die-*"))


@pytest.mark.slow
def test_four_workers_resume_after_a_worker_and_then_the_driver_were_killed(tmp_path: Path) -> None:
    control, out = tmp_path / "control", tmp_path / "out"
    control.mkdir()
    given: dict[str, Any] = {"workers": 4, "shards": 40, "control": str(control), "seconds": 0.4}
    driver = program(out, **given)
    assert driver.stdout is not None
    for _ in range(4):
        assert driver.stdout.readline() == "shard\n"
    workers = [int(path.name.removeprefix("started-")) for path in control.glob("started-*")]
    os.kill(workers[0], signal.SIGKILL)
    for _ in range(8):
        assert driver.stdout.readline() == "shard\n"
    driver.kill()
    driver.communicate(timeout=LIMIT_S)
    stored = len(list((out / "parts").glob("*.parquet")))
    assert 12 <= stored < 40
    assert finished(program(out, **given, resume=True)).count("shard\n") == 40 - stored
    assert contents(out) == expected(tmp_path / "expected", 40)


@pytest.mark.slow
def test_a_shard_over_which_every_worker_dies_is_named(tmp_path: Path) -> None:
    control = tmp_path / "control"
    control.mkdir()
    (control / "always-1").touch()
    said = finished(program(tmp_path / "out", workers=2, shards=4, control=str(control)))
    assert "3 of 12 cases were not evaluated: piece 1 (3 cases: 3 workers ended while they worked on it" in said


_FROM_A_STORE = """
import sys
from spatial_vlm_ros.evaluation.engine import case_shards
from spatial_vlm_ros.evaluation.engine.evaluate_cases import evaluate_cases
from spatial_vlm_ros.evaluation.engine.local import LocalEngine
from spatial_vlm_ros.evaluation.engine.ray_engine import RayEngine
from spatial_vlm_ros.evaluation.model_spec import ModelSpec
from spatial_vlm_ros.evaluation.sources import Source
from spatial_vlm_ros.parameters import Settings

if __name__ == "__main__":
    source = Source(sys.argv[1], "bag", sys.argv[2])
    case_shards.plan_cases.__defaults__ = (1, 2_000_000)  # frames and bytes in a shard
    for engine, folder in ((LocalEngine(), sys.argv[3]), (RayEngine(4), sys.argv[4])):
        print(evaluate_cases([source], [ModelSpec()], Settings(), folder, engine).summary())
"""


@pytest.mark.slow
def test_parts_of_a_bag_in_a_store_are_read_by_workers_of_ray(tmp_path: Path) -> None:
    pytest.importorskip("s3fs")
    pytest.importorskip("moto.server")
    pytest.importorskip("rosbags")
    import fsspec
    from engine_bags import COUNT, stamp_of, write_bag, write_truth
    from s3_server import running_server

    truth = write_truth(tmp_path / "truth.jsonl", [stamp_of(n) for n in range(1, COUNT)])
    file = next(write_bag(tmp_path / "run").glob("*.mcap"))
    with running_server() as server:
        fs = fsspec.filesystem("s3", endpoint_url=server.endpoint, key="nobody", secret="nothing")  # noqa: S106
        fs.mkdir("lab")
        fs.pipe_file("lab/run.mcap", file.read_bytes())
        environment = {
            **os.environ,
            **server.environment(),
            "PYTHONPATH": os.pathsep.join(sys.path),
            "HOME": str(tmp_path),
        }
        folders = ("s3://lab/local", "s3://lab/ray")
        (tmp_path / "program.py").write_text(_FROM_A_STORE)
        command = (sys.executable, tmp_path / "program.py", "s3://lab/run.mcap", truth, *folders)
        done = subprocess.run(list(map(str, command)), env=environment, capture_output=True, text=True, timeout=LIMIT_S)
        assert done.stdout == f"all {2 * (COUNT - 1)} cases were evaluated\n" * 2, done.stdout + done.stderr
        local, ray = ({name.partition(f"{part}/")[2]: fs.cat_file(name) for name in fs.find(f"lab/{part}")}
                      for part in ("local", "ray"))  # fmt: skip
    assert len(local) > 6
    assert ray == local


def test_a_cluster_that_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(EngineUnavailableError, match=r"cluster at 127\.0\.0\.1:1 cannot be reached.*ray status"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, RayEngine(2, "127.0.0.1:1"), CONFIGURATION)
    assert not (tmp_path / "lock.json").exists()


@contextmanager
def listening(answer: bytes | None) -> Iterator[str]:
    """The address of somebody who says this to whoever connects; None = nothing, ever."""
    over = threading.Event()

    def serve(server: socket.socket) -> None:
        connection, _ = server.accept()
        with connection:
            connection.recv(64)
            if answer is not None:
                connection.sendall(answer)
            over.wait(LIMIT_S)

    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=serve, args=(server,), daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}"
        finally:
            over.set()
            thread.join(LIMIT_S)


def test_who_listens_in_silence_or_speaks_otherwise_is_no_cluster() -> None:
    with (
        listening(None) as address,
        pytest.raises(EngineUnavailableError, match=r"no answer within 0\.2 s"),
    ):
        check_address(address, 0.2)
    with (
        listening(b"HTTP/1.1 400 Bad Request\r\n\r\n") as address,
        pytest.raises(EngineUnavailableError, match="not Ray"),
    ):
        check_address(address, LIMIT_S)


def test_a_server_of_http_2_may_be_a_cluster() -> None:
    settings = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes((0, 3, 0, 0, 0, 100))
    with listening(settings) as address:
        check_address(address, LIMIT_S)


def test_without_ray_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match="pip install ray pyarrow fsspec s3fs"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, RayEngine(2), CONFIGURATION)


@pytest.mark.parametrize("options", [{"workers": 0}, {"num_gpus": -1.0}, {"num_gpus": 1.5}, {"num_cpus": 0.0}])
def test_numbers_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RayEngine(**options)


# ------------------------------------------------------------------------------------------------ without a cluster


class ErrorOfRay(Exception):
    pass


class RayWithoutMachines:
    """As much of Ray as a cluster shows that never has room for a worker."""

    class exceptions:
        RayError = ErrorOfRay

    def __init__(self) -> None:
        self.is_up = False

    def is_initialized(self) -> bool:
        return self.is_up

    def init(self, **_: Any) -> None:
        self.is_up = True

    def shutdown(self) -> None:
        self.is_up = False

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 4.0, "memory": 1e9}

    def remote(self, kind: type) -> Any:
        del kind
        return self

    def options(self, **_: Any) -> RayWithoutMachines:
        return self

    @property
    def begin(self) -> RayWithoutMachines:
        return self

    class Actor:
        class begin:
            @staticmethod
            def remote(setup: Callable[[], Any]) -> object:
                del setup
                return object()

    def wait(self, asked: list[object], num_returns: int, timeout: float) -> tuple[list[object], list[object]]:
        del num_returns
        time.sleep(timeout / 100)
        return [], asked

    def kill(self, actor: object) -> None:
        pass


def test_a_cluster_without_room_for_a_worker_is_said_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = RayWithoutMachines()
    ray.remote = lambda kind=None: ray if kind is not None else RayWithoutMachines.Actor()  # type: ignore[method-assign]
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.ray_engine._ray", lambda: ray)
    engine = RayEngine(2, num_gpus=0.5, start_timeout=0.05)
    with pytest.raises(EngineUnavailableError, match=r"1 CPU and 0\.5 GPU for each worker, the cluster has 4 CPU"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, engine, CONFIGURATION)
    assert not ray.is_up
