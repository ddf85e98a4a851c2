# SPDX-License-Identifier: Apache-2.0
"""What the tests of the model-server client share: an image, phrases, a right answer, an address without a server."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import numpy as np
from contract_server import finds

from spatial_vlm_ros.perception.backends.server import ServerGrounder, load
from spatial_vlm_ros.types import NounPhrase, Rgb

WIDTH, HEIGHT = 640, 480
MUG, BOWL = NounPhrase("mug"), NounPhrase("salad bowl")
RIGHT = finds(("mug", (100, 200, 300, 400)))


def image() -> Rgb:
    """Left half red, right half blue, so that order of channels and sides can be told."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    pixels[:, : WIDTH // 2] = (220, 30, 30)
    pixels[:, WIDTH // 2 :] = (30, 30, 220)
    return pixels


@contextlib.contextmanager
def unused_address() -> Iterator[str]:
    """An address of this machine where nothing listens."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{held.getsockname()[1]}/v1"


def client(url: str, **options: str) -> ServerGrounder:
    given = {"model": "tiny", "url": url, "retries": "0", "connect_timeout": "2", "probe": "no", **options}
    if "family" not in given and given["model"] == "tiny":  # a name that tells nothing of a family
        given.setdefault("convention", "thousand")
    return load(**given)
