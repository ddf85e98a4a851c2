# SPDX-License-Identifier: Apache-2.0
"""Whether weights fit into memory, told before they are read: a process that Linux kills for memory says nothing."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from spatial_vlm_ros.errors import ModelError

_MEMINFO = Path("/proc/meminfo")
_FLOATS = ("F64", "F32", "F16", "BF16")
_REPAIR = "use a smaller model or dtype=float16, free memory, or run it on another computer"


def weight_bytes(files: Iterable[Path], item_bytes: float) -> int:
    """What the weights of safetensors files take at least, bytes; only the headers are read.

    Args:
        files: those that are damaged count as nothing: loading them tells why.
        item_bytes: of a floating-point number once it is loaded; others keep their size.
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
    """Bytes of RAM and swap that programs can have (man 5 proc: MemAvailable, SwapFree); None where nothing tells."""
    try:
        lines = [line.split() for line in path.read_text().splitlines()]
    except OSError:
        return None
    free = {line[0]: int(line[1]) * 1024 for line in lines if line[0] in ("MemAvailable:", "SwapFree:")}
    return sum(free.values()) if "MemAvailable:" in free else None


def check_room(model: str, needed: int, free: int | None, where: str) -> None:
    """Refuse weights that do not fit; that there is room for them does not mean that a request fits as well.

    Args:
        model: the backend's name.
        needed: bytes of the weights.
        free: bytes that are free; None = not known, and nothing is refused.
        where: for the message, "cpu" or "cuda:0".

    Raises:
        ModelError: they are more.
    """
    if free is not None and needed > free:
        reason = f"its weights take {needed / 1e9:.1f} GB, and {free / 1e9:.1f} GB are free on {where}"
        raise ModelError(model, reason, _REPAIR)
