# SPDX-License-Identifier: Apache-2.0
"""Check that weights fit in memory before they are read, because a process killed for memory cannot report it."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from spatial_vlm_ros.errors import ModelError

_MEMINFO = Path("/proc/meminfo")
_FLOATS = ("F64", "F32", "F16", "BF16")
_REPAIR = "use a smaller model or dtype=float16, free memory, or run it on another computer"


def weight_bytes(files: Iterable[Path], item_bytes: float) -> int:
    """Least memory for the weights of safetensors files, bytes; only the headers are read.

    Args:
        files: safetensors files; a damaged file counts as 0 bytes, and loading it reports why.
        item_bytes: bytes of a floating-point number once it is loaded; other numbers keep their size.
    """
    from safetensors import SafetensorError, safe_open

    total = 0.0
    for file in files:
        try:
            with safe_open(file, "numpy") as opened:
                for name in opened.keys():  # noqa: SIM118 - it has no __iter__
                    tensor = opened.get_slice(name)
                    kind = tensor.get_dtype()
                    size = item_bytes if kind in _FLOATS else 8.0 if kind.endswith("64") else 1.0
                    total += size * math.prod(tensor.get_shape())
        except (SafetensorError, OSError):
            continue
    return int(total)


def free_memory(path: Path = _MEMINFO) -> int | None:
    """Free RAM and swap in bytes (man 5 proc: MemAvailable, SwapFree); None if unknown."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    free = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("MemAvailable:", "SwapFree:")}
    return sum(free.values()) if "MemAvailable:" in free else None


def check_room(model: str, needed: int, free: int | None, where: str) -> None:
    """Refuse weights that do not fit. Even if they fit, a request may still run out of memory.

    Args:
        model: the backend's name.
        needed: bytes of the weights.
        free: free bytes; None = unknown, nothing is refused.
        where: device named in the message, "cpu" or "cuda:0".
    """
    if free is not None and needed > free:
        reason = f"its weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {where}"
        raise ModelError(model, reason, _REPAIR)
