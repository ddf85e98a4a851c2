# SPDX-License-Identifier: Apache-2.0
"""What is said where there is no Ray cluster, or none with room for a worker."""

from __future__ import annotations

import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("pyarrow")

from engine_tasks import CONFIGURATION, MadeUp, shards_of

from spatial_vlm_ros.errors import DependencyError, EngineUnavailableError, InputError
from spatial_vlm_ros.evaluation.engine.ray_engine import RayEngine, check_address
from spatial_vlm_ros.evaluation.engine.run import evaluate_shards

LIMIT_S = 120


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


def test_who_does_not_listen_or_speaks_otherwise_is_no_cluster() -> None:
    with pytest.raises(EngineUnavailableError, match=r"cluster at 127\.0\.0\.1:1 cannot be reached.*ray status"):
        check_address("127.0.0.1:1")
    for answer, wait_s, words in (
        (None, 0.2, r"no answer within 0\.2 s"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", LIMIT_S, "not Ray"),
    ):
        with listening(answer) as address, pytest.raises(EngineUnavailableError, match=words):
            check_address(address, wait_s)


def test_a_server_of_http_2_may_be_a_cluster() -> None:
    settings = bytes((0, 0, 6, 4, 0, 0, 0, 0, 0)) + bytes((0, 3, 0, 0, 0, 100))
    with listening(settings) as address:
        assert check_address(address, LIMIT_S) is None  # type: ignore[func-returns-value]


def test_without_ray_the_command_that_installs_it_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(DependencyError, match="pip install ray pyarrow fsspec s3fs"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, RayEngine(2), CONFIGURATION)


@pytest.mark.parametrize("options", [{"workers": 0}, {"num_gpus": -1.0}, {"num_gpus": 1.5}, {"num_cpus": 0.0}])
def test_numbers_that_are_none_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        RayEngine(**options)


def test_a_cluster_without_room_for_a_worker_is_said_with_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = MagicMock()
    ray.is_initialized.return_value = False
    ray.cluster_resources.return_value = {"CPU": 4.0, "memory": 1e9}
    ray.wait.side_effect = lambda asked, **_: ([], asked)
    monkeypatch.setattr("spatial_vlm_ros.evaluation.engine.ray_engine._ray", lambda: ray)
    engine = RayEngine(2, num_gpus=0.5, start_timeout=0.05)
    with pytest.raises(EngineUnavailableError, match=r"1 CPU and 0\.5 GPU for each worker, the cluster has 4 CPU"):
        evaluate_shards(MadeUp(), shards_of(2), tmp_path, engine, CONFIGURATION)
    assert ray.init.called
    assert ray.shutdown.called
    assert not (tmp_path / "lock.json").exists()
