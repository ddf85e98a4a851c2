# SPDX-License-Identifier: Apache-2.0
"""Download a file over HTTP in pieces, resume an interrupted download, and keep it only if its hash is right.

`huggingface_hub` (2.4) restarts a file if the process was ended, and works only with a hub; a mirror is often a plain
file server.
"""

from __future__ import annotations

import errno
import hashlib
import http.client
import os
import ssl
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from pathlib import Path

from spatial_vlm_ros.errors import ModelError
from spatial_vlm_ros.perception.model_store.manifest import ModelFile

PART = ".part"
"""Suffix of an incomplete file."""
Progress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes received so far, and its total size in bytes."""

_PIECE = 1 << 20  # bytes
_SILENT = 30.0  # seconds without a byte; then the connection counts as lost
_TRIES = 5  # connections in a row that deliver nothing
_WAIT = 0.5  # s; doubled after each connection that delivered nothing
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


def fetch(
    url: str, target: Path, wanted: ModelFile, model: str, token: str = "", progress: Progress | None = None
) -> None:
    """Download a file; an earlier attempt is resumed.

    Args:
        target: final path; a file with the suffix PART grows beside it until the download is complete.
        wanted: expected size and SHA-256.
        token: token of the hub; sent to the address itself, not to the target of a redirect.
    """
    part = target.with_name(target.name + PART)
    resumed = part.exists() and part.stat().st_size > 0
    _pieces(url, part, wanted, model, token, progress or (lambda *_: None))
    if resumed and not _right(part, wanted):  # the part belongs to another content
        part.unlink()
        _pieces(url, part, wanted, model, token, progress or (lambda *_: None))
    if not _right(part, wanted):
        got = f"{part.stat().st_size} bytes with SHA-256 {sha256_of(part)[:16]}…"
        part.unlink()
        reason = f"{url} has {got}; the manifest lists {wanted.size} with {wanted.sha256[:16]}…"
        raise ModelError(model, reason, "nothing was saved; try another mirror, and report this one")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    return digest.hexdigest()


def _right(path: Path, wanted: ModelFile) -> bool:
    return path.stat().st_size == wanted.size and sha256_of(path) == wanted.sha256


def _pieces(url: str, part: Path, wanted: ModelFile, model: str, token: str, progress: Progress) -> None:
    """Append pieces until the file is complete; reconnect if the connection is lost."""
    tries, most, anew = 0, _size(part), False
    while (here := _size(part)) < wanted.size or not part.exists():
        try:
            _connection(url, part, here, wanted, model, token, progress)
            lost: Exception = TimeoutError("the connection ended early")
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 416 and not anew:  # the local part is longer than the remote file
                part.unlink(missing_ok=True)
                anew = True
            elif error.code not in _AGAIN:
                raise _failed(url, model, error) from error
            lost = error
        except (urllib.error.URLError, ConnectionError, TimeoutError, ssl.SSLError, http.client.HTTPException) as error:
            lost = error
        except OSError as error:
            raise _not_written(part, wanted, model, error) from error
        except ValueError as error:
            raise ModelError(model, f"{url!r} is not an address: {error}", "fix the mirror's address") from error
        if _size(part) > most:
            tries, most = 0, _size(part)
            continue
        tries += 1
        if tries >= _TRIES:
            raise _failed(url, model, lost) from lost
        time.sleep(_WAIT * 2**tries)


def _connection(url: str, part: Path, here: int, wanted: ModelFile, model: str, token: str, progress: Progress) -> None:
    request = _request(url, model)
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if here:
        request.add_header("Range", f"bytes={here}-")
    with urllib.request.urlopen(request, timeout=_SILENT) as answer:  # noqa: S310
        told = answer.headers.get("Content-Range", "")
        if answer.status == 206 and not told.startswith(f"bytes {here}-"):
            raise ConnectionError(f"asked for bytes from {here} on, it sends {told or 'others'}")
        whole = told.rpartition("/")[2] if answer.status == 206 else answer.headers.get("Content-Length", "")
        if whole.isdecimal() and int(whole) != wanted.size:
            reason = f"{url} has {int(whole)} bytes, but the manifest lists {wanted.size}"
            raise ModelError(model, reason, "try another mirror, and report this one")
        left = 0 if answer.status == 206 else here
        while left and (piece := answer.read1(min(_PIECE, left))):  # without ranges a server sends all again
            left -= len(piece)
        with part.open("ab" if here else "wb") as file:
            done = here
            while not left and done <= wanted.size and (piece := answer.read1(_PIECE)):
                file.write(piece)
                done += len(piece)
                progress(part.name.removesuffix(PART), done, wanted.size)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _not_written(part: Path, wanted: ModelFile, model: str, error: OSError) -> ModelError:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        repair = f"free {(wanted.size - _size(part)) // 1_000_000 + 1} MB, or set SPATIAL_VLM_MODELS to a folder on "
        return ModelError(
            model, f"the disk of {part.parent} is full", repair + "another disk; then run the command again"
        )
    repair = "check the folder's rights, or set SPATIAL_VLM_MODELS to another folder"
    return ModelError(model, f"{part} cannot be written: {error.strerror or error}", repair)


def _request(url: str, model: str) -> urllib.request.Request:
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii()
    except ValueError:
        known = False
    if not known:
        raise ModelError(
            model,
            "the mirror's address does not begin with http:// or https:// and a host",
            "use http://host:port",
        )
    if parts.username is not None:
        raise ModelError(model, "the mirror's address holds a user's name", "use a mirror without a login")
    return urllib.request.Request(url, headers={"User-Agent": "spatial_vlm_ros", "Accept-Encoding": "identity"})  # noqa: S310


def _failed(url: str, model: str, error: Exception) -> ModelError:
    """Turn a failure into an error for the user."""
    if isinstance(error, urllib.error.HTTPError):
        error.close()
    if isinstance(error, urllib.error.HTTPError) and error.code in (401, 403):
        repair = "accept its terms on the hub, and set HF_TOKEN to a token of your account"
        return ModelError(model, f"{url} needs its owner's permission ({error.code})", repair)
    if isinstance(error, urllib.error.HTTPError) and error.code == 404:
        return ModelError(model, f"there is no {url}", "check the mirror's address: --mirror, HF_ENDPOINT")
    if isinstance(error, urllib.error.HTTPError):
        return ModelError(
            model, f"{url} cannot be fetched: status {error.code}", "check the mirror, and run the command again"
        )
    words = str(error.reason) if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
    repair = "check the network, proxy or mirror, and run the command again: finished files are kept"
    return ModelError(model, f"{url} cannot be fetched: {words}", repair)
