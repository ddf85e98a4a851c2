# SPDX-License-Identifier: Apache-2.0
"""Main program of a grounder's process: load the grounder, then answer requests until the owner is gone.

`worker` starts it with two file descriptors as arguments: the socket for messages, and the lifeline. The lifeline
is a pipe on which nothing is ever sent and which closes when the owner ends, however it ends.
"""

from __future__ import annotations

import faulthandler
import fcntl
import io
import os
import signal
import sys
import threading
import traceback
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception import worker_wire as wire
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.judging import judge_of, tells_likelihoods, with_marks


def main() -> None:
    """Serve until the owner closes the socket; exits with 1 if the backend cannot be loaded."""
    connection_fd, lifeline = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which then ends this process
    for fd in (connection_fd, lifeline):
        os.set_inheritable(fd, False)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)

    # The kernel ends this process and its children when the lifeline closes, so that a model that never releases
    # Python's lock dies too; the thread is for an owner that was gone before the kernel was asked. (PR_SET_PDEATHSIG
    # would also fire if only the thread that started this process ends.)
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)
    threading.Thread(target=wait, name="lifeline", daemon=True).start()

    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    with Connection(connection_fd) as connection:
        _serve(connection)


def _serve(connection: Connection) -> None:
    try:
        _, kind, value = wire.decoded(connection.recv_bytes(wire.LONGEST), wire.Message)
        if kind != "load":
            raise wire.WireError("the first message must name the backend to load")
        try:
            grounder: Any = load_grounder(*wire.decoded(value, wire.ARGUMENTS["load"]))
            own = {name: getattr(grounder, name, None) for name in ("ground", "refer", "masked")}
            methods: dict[str, Any] = {name: method for name, method in own.items() if callable(method)}
            judge = judge_of(grounder)
        except Exception as error:
            if not isinstance(error, SpatialVlmError):  # its message already says everything
                traceback.print_exc()
            connection.send_bytes(wire.failure(0, error))
            sys.exit(1)
        if judge is not None:
            methods["judge"] = lambda rgb, asked, budget_s, marks: with_marks(judge, marks).judge(rgb, asked, budget_s)
        able = wire.Abilities(tuple(methods), tells_likelihoods(judge), domain_of(grounder))
        connection.send_bytes(wire.answer(0, able))
        while True:
            number, method, value = wire.decoded(connection.recv_bytes(wire.LONGEST), wire.Message)
            (height, width), arguments = wire.arguments_of(method, value)
            rgb = np.empty((height, width, 3), np.uint8)
            if connection.recv_bytes_into(rgb.reshape(-1).data) != rgb.nbytes:
                raise wire.WireError("the image is shorter than its size says")
            try:
                found = methods[method](rgb, *arguments)
                name = type(grounder).__name__
                reply = wire.answer(number, wire.checked(method, found, (height, width), len(arguments[0]), name))
            except Exception as error:
                traceback.print_exc()
                reply = wire.failure(number, error)
            connection.send_bytes(reply)
    except (EOFError, ConnectionError):
        return
