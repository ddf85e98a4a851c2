# SPDX-License-Identifier: Apache-2.0
"""Main program of a grounder's process: load the grounder, then answer requests until the owner is gone.

`worker_process` starts it with two file descriptors as arguments: the socket for frames, and the lifeline. The lifeline
is a pipe on which nothing is ever sent and which closes when the owner ends, however it ends.
"""

from __future__ import annotations

import faulthandler
import fcntl
import io
import os
import signal
import socket
import sys
import threading
import traceback
from typing import cast

from spatial_vlm_ros.errors import SpatialVlmError
from spatial_vlm_ros.perception import load_grounder
from spatial_vlm_ros.perception.domain import domain_of
from spatial_vlm_ros.perception.grounder import Grounder
from spatial_vlm_ros.perception.judging import (
    CannotJudgeError,
    RelationJudge,
    check_probabilities,
    judge_of,
    tells_likelihoods,
    with_marks,
)
from spatial_vlm_ros.perception.masking import Masker
from spatial_vlm_ros.perception.referring import referrer_of
from spatial_vlm_ros.perception.worker_masks import detections_of, masks_reply
from spatial_vlm_ros.perception.worker_wire import (
    Ask,
    Body,
    Channel,
    FromWorker,
    Judged,
    JudgeRequest,
    Load,
    MaskRequest,
    Ready,
    Refer,
    ToWorker,
    WireError,
    failed,
    found,
    image_of,
    referred,
)


def main() -> None:
    """Serve until the owner closes the socket; exits with 1 if the backend cannot be loaded."""
    channel_fd, lifeline = int(sys.argv[1]), int(sys.argv[2])
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the owner, which then ends this process
    for fd in (channel_fd, lifeline):
        os.set_inheritable(fd, False)
    _die_with_owner(lifeline)
    faulthandler.enable()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(line_buffering=True, errors="backslashreplace")
    with socket.socket(fileno=channel_fd) as connection:
        _serve(Channel(connection, ToWorker))


def _die_with_owner(lifeline: int) -> None:
    """End this process and its children when the lifeline closes.

    The kernel does it, so that a model that never releases Python's lock dies too; the thread is for an owner that was
    gone before the kernel was asked. (PR_SET_PDEATHSIG would also fire if only the thread that started this process
    ends.)
    """
    fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, -os.getpgrp())
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC)

    def wait() -> None:
        os.read(lifeline, 1)
        os.killpg(0, signal.SIGKILL)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()


def _serve(channel: Channel) -> None:
    try:
        load, _ = _next(channel)
        if not isinstance(load, Load):
            raise WireError("the first message must name the backend to load")
        try:
            grounder = load_grounder(load.name, load.options)
            refers, judge = callable(getattr(grounder, "refer", None)), judge_of(grounder)
        except Exception as error:
            if not isinstance(error, SpatialVlmError):  # its message already says everything
                traceback.print_exc()
            _send(channel, failed(0, error))
            sys.exit(1)
        masks = callable(getattr(grounder, "masked", None))
        _send(channel, Ready(refers, judge is not None, tells_likelihoods(judge), domain_of(grounder), masks))
        while True:
            ask, body = _next(channel)
            if not isinstance(ask, (Ask, Refer, JudgeRequest, MaskRequest)):
                raise WireError("the backend is already loaded")
            _answer(channel, grounder, judge, ask, body)
    except (EOFError, ConnectionError):
        return


def _answer(
    channel: Channel,
    grounder: Grounder,
    judge: RelationJudge | None,
    ask: Ask | Refer | JudgeRequest | MaskRequest,
    body: Body,
) -> None:
    rgb = image_of(ask, body)
    try:
        if isinstance(ask, JudgeRequest):
            if judge is None:
                raise CannotJudgeError(type(grounder).__name__)
            told = with_marks(judge, ask.marks).judge(rgb, ask.questions, ask.budget_s)
            name = type(grounder).__name__
            channel.post(Judged(ask.number, check_probabilities(told, len(ask.questions), name)))
        elif isinstance(ask, MaskRequest):
            masked = cast(Masker, grounder).masked(rgb, detections_of(ask))
            channel.post(*masks_reply(ask.number, masked, rgb.shape[:2]))
        elif isinstance(ask, Refer):
            channel.post(referred(ask.number, referrer_of(grounder).refer(rgb, ask.words)))
        else:
            channel.post(*found(ask.number, grounder.ground(rgb, ask.phrases), rgb.shape[:2]))
    except Exception as error:
        traceback.print_exc()
        channel.post(failed(ask.number, error))
    channel.flush()


def _next(channel: Channel) -> tuple[ToWorker, Body]:
    while True:
        if (frame := channel.receive()) is not None:
            return frame


def _send(channel: Channel, header: FromWorker) -> None:
    channel.post(header)
    channel.flush()
