# SPDX-License-Identifier: Apache-2.0
"""A file over HTTP: in pieces, taken up again where it was left, and kept only where it is what it should be.

`huggingface_hub` (2.4) begins a file anew when the process was ended, and talks to nothing but a hub; a mirror is often
a plain file server.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.model_store.manifest import ModelFile

PART = ".part"
"""Ending of a file that is not complete."""
Progress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes that are here, and the bytes of the whole."""

_PIECE = 1 << 20  # bytes
_SILENT = 30.0  # s without a byte: the connection counts as lost
_TRIES = 5  # connections in a row that bring nothing
_WAIT = 1.0  # s before the second one, then twice as long each time
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_LONGEST_ENTRY = 1 << 20  # bytes of a JSON that lists a model's files


def fetch(
    url: str, target: Path, wanted: ModelFile, model: str, token: str = "", progress: Progress | None = None
) -> None:
    """Download a file, unless it is here; what is left of an earlier attempt is taken up.

    Args:
        url: http or https.
        target: where it belongs; beside it a file with the ending PART grows until it is complete.
        wanted: its size and SHA-256.
        model: name, for messages.
        token: of the hub; sent to the address itself and not to where that redirects.
        progress: told after each piece.

    Raises:
        ModelError: no connection, no such file, another content than wanted (nothing of it is kept), or a full disk
            (what is here is kept, and taken up next time).
    """
    part = target.with_name(target.name + PART)
    resumed = part.exists() and part.stat().st_size > 0
    _pieces(url, part, wanted, model, token, progress or (lambda *_: None))
    if resumed and not _right(part, wanted):  # it was begun with another content
        part.unlink()
        _pieces(url, part, wanted, model, token, progress or (lambda *_: None))
    if not _right(part, wanted):
        got = f"{part.stat().st_size} bytes with SHA-256 {sha256_of(part)[:16]}…"
        part.unlink()
        listed = f"{wanted.size} with {(wanted.sha256 or 'any')[:16]}…"
        reason = f"{url} is not what the manifest lists: it has {got}, and {listed} are listed"
        raise ModelError(model, reason, "nothing of it was kept; try another mirror, and tell whoever runs this one")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def read_small(url: str, model: str) -> bytes:
    """A small file, whole.

    Raises:
        ModelError: no connection, no such file, or one of more than a mebibyte.
    """
    try:
        with urllib.request.urlopen(_request(url, model), timeout=_SILENT) as answer:  # noqa: S310
            content: bytes = answer.read(_LONGEST_ENTRY + 1)
    except (OSError, http.client.HTTPException) as error:
        raise _failed(url, model, error) from error
    if len(content) > _LONGEST_ENTRY:
        raise ModelError(
            model, f"{url} is no list of a model's files: it is too long", "give the address of a model.json"
        )
    return content


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _right(path: Path, wanted: ModelFile) -> bool:
    if path.stat().st_size != wanted.size:
        return False
    return wanted.sha256 is None or sha256_of(path) == wanted.sha256


def _pieces(url: str, part: Path, wanted: ModelFile, model: str, token: str, progress: Progress) -> None:
    """Append pieces until all are here; a connection that is lost is made again."""
    tries, wait = 0, _WAIT
    while True:
        here = part.stat().st_size if part.exists() else 0
        if here >= wanted.size:
            part.touch()
            return
        try:
            _connection(url, part, here, wanted, model, token, progress)
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416:  # what is here is no beginning of what is there
                part.unlink(missing_ok=True)
            elif error.code not in _AGAIN:
                raise _failed(url, model, error) from error
            lost: Exception = error
        except (OSError, http.client.HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                left = (wanted.size - (part.stat().st_size if part.exists() else 0)) // 1_000_000
                repair = (
                    f"free {left + 1} MB, or set SPATIAL_VLM_MODELS to a folder on another disk; then call it again"
                )
                raise ModelError(model, f"the disk of {part.parent} is full", repair) from error
            lost = error
        else:
            lost = TimeoutError("the connection ended early")
        now = part.stat().st_size if part.exists() else 0
        if now >= wanted.size:
            return
        tries, wait = (0, _WAIT) if now > here else (tries + 1, wait * 2)
        if tries >= _TRIES:
            raise _failed(url, model, lost) from lost
        time.sleep(wait)


def _connection(url: str, part: Path, here: int, wanted: ModelFile, model: str, token: str, progress: Progress) -> None:
    request = _request(url, model)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if here:
        request.add_header("Range", f"bytes={here}-")
    with urllib.request.urlopen(request, timeout=_SILENT) as answer:  # noqa: S310
        follows = answer.status == 206 and answer.headers.get("Content-Range", "").startswith(f"bytes {here}-")
        with part.open("ab" if here and follows else "wb") as file:
            done = file.tell()
            while piece := answer.read(min(_PIECE, wanted.size - done + 1)):
                file.write(piece)
                done += len(piece)
                progress(part.name.removesuffix(PART), done, wanted.size)
                if done > wanted.size:
                    return


def _request(url: str, model: str) -> urllib.request.Request:
    if urllib.parse.urlsplit(url).scheme not in ("http", "https"):
        raise ModelError(model, f"{url!r} is no address of http or https", "give the address of a mirror")
    return urllib.request.Request(url, headers={"User-Agent": "spatial_vlm_ros", "Accept-Encoding": "identity"})  # noqa: S310


def _failed(url: str, model: str, error: Exception) -> ModelError:
    """What a failure means for the user."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403):
        repair = "accept its terms on the hub, and set HF_TOKEN to a token of your account"
        return ModelError(model, f"{url} needs its owner's permission ({error.code})", repair)
    if isinstance(error, urllib.error.HTTPError) and error.code == 404:
        return ModelError(model, f"there is no {url}", "check the mirror's address: --mirror, HF_ENDPOINT")
    words = str(error.reason) if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
    repair = "check the network, proxy or mirror, and call it again: what is here is kept"
    return ModelError(model, f"{url} cannot be fetched: {words}", repair)
