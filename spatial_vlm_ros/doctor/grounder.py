# SPDX-License-Identifier: Apache-2.0
"""Finds out why a grounder does not load or answer: `spatial-vlm doctor --grounder`.

The grounder is loaded and asked as the live node does it, in a process of its own, so that a crash, a hang or a process
that Linux kills for memory is a finding as well. The causes are the errors that loading raises; none is checked twice.
"""

from __future__ import annotations

import importlib.util
import re
import time
from collections.abc import Mapping
from pathlib import Path

from spatial_vlm_ros.doctor.findings import Finding, fail, has_errors, ok, warn
from spatial_vlm_ros.errors import SpatialVlmError, UnfamiliarImageError, without_repair
from spatial_vlm_ros.perception import model_store
from spatial_vlm_ros.perception.model_store import known_models
from spatial_vlm_ros.perception.probing import image
from spatial_vlm_ros.perception.worker import WorkerGrounder
from spatial_vlm_ros.types import NounPhrase

_DRIVERS = (Path("/proc/driver/nvidia/version"), Path("/etc/nv_tegra_release"))  # a GPU's driver, a Jetson's
_ASKED = (NounPhrase("rectangle", ("red",)), NounPhrase("cup"))


def examine_grounder(
    name: str, options: Mapping[str, str], start_timeout_s: float = 120.0, timeout_s: float = 30.0
) -> list[Finding]:
    """Check files of listed models, the GPU, loading and one request; the first error ends it.

    Args:
        start_timeout_s: loading may take this long, seconds.
        timeout_s: the request may take this long, seconds.
    """
    findings = []
    words = {word for value in options.values() for word in re.split(r"[\s=]+", value)}  # those of nested options too
    for entry in known_models().values():
        if not words & {entry.name, entry.repository} or not any(model_store.folder_of(entry).rglob("*")):
            continue  # one that is not here at all may be in the hub's cache; loading tells
        check, faults = f"files of {entry.name}", model_store.faults(entry)
        told = "; ".join(f"{path} {fault}" for path, fault in faults.items())
        well = ok(check, f"size and SHA-256 of {len(entry.files)} files match the manifest")
        findings.append(fail(check, told, model_store.by_hand(entry)) if faults else well)

    if any(path.exists() for path in _DRIVERS) and importlib.util.find_spec("torch") is not None:
        from spatial_vlm_ros.perception.backends.onboard import no_cuda

        missing = no_cuda()
        if missing is not None:
            findings.append(warn("gpu", f"torch does not use this computer's GPU: {missing[0]}", missing[1]))
    if has_errors(findings):
        return findings

    stage = "load"
    try:
        with WorkerGrounder(name, options, timeout_s, start_timeout_s) as grounder:
            started = time.monotonic()
            findings.append(ok(stage, f"{name} is loaded"))
            stage = "request"
            found = grounder.ground(image((640, 480), (0.5, 0.5), "red", "rectangle").rgb, _ASKED)
            took = time.monotonic() - started
            findings.append(ok(stage, f"it answers in {took:.2f} s: {len(found.detections)} objects"))
    except UnfamiliarImageError as error:
        findings.append(ok(stage, f"it answers, but refuses the drawn image: {error.args[0]}"))
    except SpatialVlmError as error:
        findings.append(fail(stage, without_repair(error), str(getattr(error, "repair", ""))))
    return findings
