# SPDX-License-Identifier: Apache-2.0
"""An S3-compatible object store on 127.0.0.1, in a process of its own. Not a test."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_SERVER = """
import logging, sys
from moto.server import ThreadedMotoServer
logging.disable(logging.CRITICAL)
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
print("port", server.get_host_and_port()[1], flush=True)
sys.stdin.read()
"""


class S3Server:
    """A running server; `stop` ends it as a machine that fails does."""

    def __init__(self, process: subprocess.Popen[str], port: int) -> None:
        self._process = process
        self.endpoint = f"http://127.0.0.1:{port}"

    def stop(self) -> None:
        self._process.kill()
        self._process.wait()

    def environment(self) -> dict[str, str]:
        """What fsspec and boto read: the endpoint, and a key that this server does not look at."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint, "AWS_ACCESS_KEY_ID": "nobody", "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1", "AWS_EC2_METADATA_DISABLED": "true", "AWS_MAX_ATTEMPTS": "1",
        }  # fmt: skip


@contextmanager
def running_server() -> Iterator[S3Server]:
    environment = {**os.environ, "PYTHONWARNINGS": "ignore"}
    with subprocess.Popen(
        [sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            port = next(int(m[1]) for line in process.stdout if (m := re.match(r"port (\d+)", line)))
            yield S3Server(process, port)
        finally:
            process.kill()


def put(path: Path, uri: str) -> str:
    """Put a file, or the files of a folder, into the store; its URI."""
    from fsspec.core import url_to_fs

    fs, there = url_to_fs(uri)
    files = [(path, there)] if path.is_file() else [(file, f"{there}/{file.name}") for file in path.iterdir()]
    for file, to in files:
        fs.pipe_file(to, file.read_bytes())
    return uri
