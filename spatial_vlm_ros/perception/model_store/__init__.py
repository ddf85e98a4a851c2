# SPDX-License-Identifier: Apache-2.0
"""Models that users can fetch: their list, the download, and the fetched ones on this machine.

`models.json` beside this file lists source, revision, licence, and the SHA-256 of each file.

The root folder is `SPATIAL_VLM_MODELS`, else `spatial_vlm_ros` in `HF_HOME`, else `spatial_vlm_ros/models` in the
user's cache folder. Below it a model has the same path as on the hub, `owner/name/resolve/revision/…`, so that any file
server on the root works as a mirror.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import functools
import hashlib
import http.client
import os
import shutil
import ssl
import threading
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import msgspec

from spatial_vlm_ros.budgets import PATIENCE, SILENT, SLOWEST
from spatial_vlm_ros.errors import ModelError, UnknownNameError
from spatial_vlm_ros.files.writing import with_parents

PERMISSIVE = frozenset({"Apache-2.0", "MIT", "BSD-3-Clause"})
"""SPDX names of licences that put no conditions on running a model."""


class ModelFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One file of a model."""

    size: int  # bytes
    sha256: str


class ModelEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A model that can be fetched; `repository` and `revision` (a commit) are those of the hub.

    Attributes:
        licence: SPDX name, or the owner's name for it; `terms` is the address of its text.
        files: path inside the model's folder, with "/" → its size and hash.
        needs: extra of this package, for `pip install`.
        cost: cost per frame, with the machine and the script that measured it; empty if not measured.
    """

    name: str
    backend: str
    options: dict[str, str]
    about: str
    licence: str
    terms: str
    files: dict[str, ModelFile]
    needs: str = ""
    repository: str
    revision: str
    gated: bool = False
    cost: str = ""

    @property
    def size(self) -> int:
        """Size of all files, bytes."""
        return sum(file.size for file in self.files.values())

    @property
    def permissive(self) -> bool:
        """Whether it needs no consent to a licence."""
        return self.licence in PERMISSIVE and not self.gated


@functools.cache
def known_models() -> dict[str, ModelEntry]:
    """All models that can be fetched, by name."""
    path = resources.files(__package__) / "models.json"
    entries = msgspec.json.decode(path.read_bytes(), type=list[ModelEntry])
    return {entry.name: entry for entry in entries}


def known_model(name: str) -> ModelEntry:
    """Return a model by its name."""
    found = known_models().get(name)
    if found is None:
        raise UnknownNameError("model", name, sorted(known_models()))
    return found


HUB = "https://huggingface.co"
_OFFLINE = ("1", "ON", "YES", "TRUE")


# Download a file over HTTP in pieces, resume an interrupted download, and keep it only if its hash is right.
#
# `huggingface_hub` (2.4) restarts a file if the process was ended, and works only with a hub; a mirror is often a
# plain file server.

PART = ".part"
"""Suffix of an incomplete file."""
Progress = Callable[[str, int, int], None]
"""Called with a file's path, the bytes received so far, and its total size in bytes."""

_PIECE = 1 << 20  # bytes
_TRIES = 5  # connections in a row that deliver nothing
_WAIT = 0.5  # s; doubled after each connection that delivered nothing
_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})


def fetch(
    url: str, target: Path, wanted: ModelFile, model: str, token: str = "", progress: Progress | None = None
) -> None:
    """Download a file; an earlier attempt, beside it with the suffix PART, is resumed.

    The token is sent to the address itself, not to the target of a redirect.
    """
    part = target.with_name(target.name + PART)
    resumed, end = _size(part) > 0, time.monotonic() + PATIENCE + wanted.size / SLOWEST
    get = functools.partial(_pieces, url, part, wanted, model, token, progress)
    _until(end, url, model, get)
    if resumed and _fault(part, wanted):  # the part belongs to another content
        part.unlink()
        _until(end, url, model, get)
    if fault := _fault(part, wanted):
        part.unlink()
        raise ModelError(model, f"{url} {fault}", "nothing was saved; try another mirror, and report this one")
    with part.open("rb") as file:
        os.fsync(file.fileno())
    part.replace(target)


def _until(end: float, url: str, model: str, work: Callable[[], None]) -> None:
    """Wait for work on another thread, in which a server can send byte by byte, until a time."""
    failed = list[Exception]()

    def run() -> None:
        try:
            work()
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=run, name="download", daemon=True)
    thread.start()
    thread.join(max(0.0, end - time.monotonic()))
    if thread.is_alive():
        raise ModelError(model, f"{url} takes too long", "use a faster mirror; what came is kept")
    if failed:
        raise failed[0]


def _pieces(url: str, part: Path, wanted: ModelFile, model: str, token: str, progress: Progress | None) -> None:
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
            reason = f"{part} cannot be written: {error.strerror or error}"
            repair = "check the folder's rights, or set SPATIAL_VLM_MODELS to another folder"
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                reason, megabytes = f"the disk of {part.parent} is full", (wanted.size - _size(part)) // 1_000_000 + 1
                repair = f"free {megabytes} MB, or set SPATIAL_VLM_MODELS to a folder on another disk"
                repair += "; then run the command again"
            raise ModelError(model, reason, repair) from error
        except ValueError as error:
            raise ModelError(model, f"{url!r} is not an address: {error}", "fix the mirror's address") from error
        if _size(part) > most:
            tries, most = 0, _size(part)
            continue
        tries += 1
        if tries >= _TRIES:
            raise _failed(url, model, lost) from lost
        time.sleep(_WAIT * 2**tries)


def _connection(
    url: str, part: Path, here: int, wanted: ModelFile, model: str, token: str, progress: Progress | None
) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and url.isascii()
    except ValueError:
        known = False
    if not known:
        reason = "the mirror's address does not begin with http:// or https:// and a host"
        raise ModelError(model, reason, "use http://host:port")
    if parts.username is not None:
        raise ModelError(model, "the mirror's address holds a user's name", "use a mirror without a login")
    headers = {"User-Agent": "spatial_vlm_ros", "Accept-Encoding": "identity"}
    request = urllib.request.Request(url, headers=headers)  # noqa: S310
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    if here:
        request.add_header("Range", f"bytes={here}-")
    begun = time.monotonic()
    with urllib.request.build_opener(_SafeRedirects).open(request, timeout=SILENT) as answer:
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
                seconds = time.monotonic() - begun
                if seconds > PATIENCE and done - here < SLOWEST * seconds:
                    reason = f"{url} sent {(done - here) / seconds:.0f} bytes a second"
                    raise ModelError(model, reason, "use a faster mirror; what came is kept")
                if progress is not None:
                    progress(part.name.removesuffix(PART), done, wanted.size)


class _SafeRedirects(urllib.request.HTTPRedirectHandler):
    """Follows a redirect to https, or from http to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        if urllib.parse.urlsplit(newurl).scheme not in ("https", req.type):
            raise urllib.error.HTTPError(req.full_url, code, f"a redirect to {newurl}", headers, fp)
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _failed(url: str, model: str, error: Exception) -> ModelError:
    if isinstance(error, urllib.error.HTTPError):
        refusals = {404: (f"there is no {url}", "check the mirror's address: --mirror, HF_ENDPOINT")}
        for status in (401, 403):
            repair = "accept its terms on the hub, and set HF_TOKEN to a token of your account"
            refusals[status] = f"{url} needs its owner's permission ({status})", repair
        other = (
            f"{url} cannot be fetched: status {error.code}, {error.reason}",
            "check the mirror, and run the command again",
        )
        return ModelError(model, *refusals.get(error.code, other))
    words = str(error.reason) if isinstance(error, urllib.error.URLError) else str(error) or type(error).__name__
    repair = "check the network, proxy or mirror, and run the command again: finished files are kept"
    return ModelError(model, f"{url} cannot be fetched: {words}", repair)


def store_folder(environment: Mapping[str, str] | None = None) -> Path:
    """Return the root folder of all models."""
    given = os.environ if environment is None else environment
    try:
        for name, inside in (("SPATIAL_VLM_MODELS", ""), ("HF_HOME", "spatial_vlm_ros")):
            if given.get(name):
                return Path(given[name]).expanduser().absolute() / inside
        if Path(given.get("XDG_CACHE_HOME", "")).is_absolute():  # the XDG specification says to ignore relative paths
            return Path(given["XDG_CACHE_HOME"]) / "spatial_vlm_ros" / "models"
        return Path.home() / ".cache" / "spatial_vlm_ros" / "models"
    except RuntimeError as error:
        raise ModelError("models", "there is no home folder", "set SPATIAL_VLM_MODELS to a folder") from error


def folder_of(entry: ModelEntry) -> Path:
    """Folder of a model, whether or not it exists."""
    return store_folder() / entry.repository / "resolve" / entry.revision


def missing(entry: ModelEntry) -> dict[str, int]:
    """Find missing files of a model, or files of a wrong size: path → bytes still to download."""
    found = {}
    with _readable(entry):
        for path, here, wanted in _files(entry):
            if not here.is_file() or here.stat().st_size != wanted.size:
                part = here.with_name(here.name + PART)
                found[path] = wanted.size - (min(part.stat().st_size, wanted.size) if part.is_file() else 0)
    return found


def get(entry: ModelEntry, base: str = "", progress: Progress | None = None) -> Path:
    """Fetch missing and wrong files of a model, from a mirror, `HF_ENDPOINT` or the hub, so that it is as listed."""
    wanted = {path: entry.files[path].size for path in faults(entry)} | missing(entry)
    if not wanted:
        return folder_of(entry)
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in _OFFLINE:
        raise ModelError(
            entry.name, f"{len(wanted)} of its files are missing, and HF_HUB_OFFLINE is set", by_hand(entry)
        )
    folder, token = folder_of(entry), ""
    if _hub(base) == HUB:  # the token of the hub is only sent to the hub
        token = os.environ.get("HF_TOKEN", "").strip()
    if not token.isprintable() or not token.isascii():
        raise ModelError(entry.name, "HF_TOKEN holds characters that a token cannot have", "set it again, or unset it")
    with _readable(entry), _alone(entry):
        free = shutil.disk_usage(folder).free
        if free < sum(wanted.values()):
            need = f"{sum(wanted.values()) / 1e6:.0f} MB are missing, but only {free / 1e6:.0f} MB are free in {folder}"
            raise ModelError(entry.name, need, "free some, or set SPATIAL_VLM_MODELS to a folder on another disk")
        for path, here, file in _files(entry):
            if path in wanted and _fault(here, file):  # check again: another process may have finished meanwhile
                here.parent.mkdir(parents=True, exist_ok=True)
                address = f"{_hub(base)}/{entry.repository}/resolve/{entry.revision}/{path}"
                fetch(address, here, file, entry.name, token, progress)
    return folder


def faults(entry: ModelEntry) -> dict[str, str]:
    """Find files of a model that are not as listed: path → reason in words."""
    with _readable(entry):
        return {path: fault for path, here, wanted in _files(entry) if (fault := _fault(here, wanted))}


def by_hand(entry: ModelEntry) -> str:
    """The command that fetches a model."""
    return f"with a network: spatial-vlm models get {entry.name}; or copy {folder_of(entry)} from a machine that has it"


def _files(entry: ModelEntry) -> Iterator[tuple[str, Path, ModelFile]]:
    folder = folder_of(entry)
    return ((path, folder / path, file) for path, file in entry.files.items())


def _fault(here: Path, wanted: ModelFile) -> str:
    """Why a file is not as listed, in words; "" if it is."""
    if not here.is_file():
        return "is missing"
    if here.stat().st_size != wanted.size:
        return f"has {here.stat().st_size} bytes, and should have {wanted.size}"
    with here.open("rb") as file:
        digest = hashlib.sha256()
        while piece := file.read(_PIECE):
            digest.update(piece)
    got = digest.hexdigest()
    return "" if got == wanted.sha256 else f"has SHA-256 {got[:16]}…, and should have {wanted.sha256[:16]}…"


@contextlib.contextmanager
def _readable(entry: ModelEntry) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = f"{error.filename or folder_of(entry)}: {error.strerror or error}"
        raise ModelError(entry.name, reason, "check the folder, or set SPATIAL_VLM_MODELS to another") from error


@contextlib.contextmanager
def _alone(entry: ModelEntry) -> Iterator[None]:
    """Create and lock the model's folder, because two processes would write into one file."""
    folder = folder_of(entry)
    lock_file = folder.with_name(f"{folder.name}.lock")
    with with_parents(folder / "file"), lock_file.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ModelError(entry.name, "another process is downloading it", "wait until it has finished") from error
        try:
            yield
        finally:
            lock_file.unlink(missing_ok=True)


def _hub(base: str) -> str:
    return (base or os.environ.get("HF_ENDPOINT", "") or HUB).rstrip("/")
