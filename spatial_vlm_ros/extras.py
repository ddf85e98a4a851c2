# SPDX-License-Identifier: Apache-2.0
"""Install commands for the extras of this package, valid in a checkout and in a colcon workspace.

The package is not on a package index, so `pip install spatial_vlm_ros[…]` would find nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

PACKAGES: Mapping[str, str] = MappingProxyType(
    {
        "adapt": "torch transformers safetensors pillow jinja2 peft mujoco",
        "arm": 'pin coal ompl daqp "example-robot-data<4.4"',
        "export": "torch transformers safetensors onnxruntime onnx onnxscript tokenizers pillow",
        "onnx": "onnxruntime tokenizers pillow",
        "report": "Jinja2 junitparser",
        "scale": "pyarrow fsspec s3fs",
        "train": "torch transformers safetensors onnx onnxscript mujoco",
        "view": "open3d-cpu",
        "vlm": "torch transformers safetensors pillow jinja2",
        "web": "starlette uvicorn Jinja2 cryptography",
    }
)
"""Extra → its packages, as in setup.py, without minimum versions."""


def install(extra: str) -> str:
    """The command that installs the packages of an extra."""
    return f"pip install {PACKAGES[extra]}"
