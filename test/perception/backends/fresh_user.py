# SPDX-License-Identifier: Apache-2.0
"""A user who has no model yet, and a mirror that has one; their programs cannot import torch. Not a test."""

import contextlib
import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec
from file_server import FileServer
from tiny_models import owl, published

from spatial_vlm_ros.perception.model_store import ModelEntry, ModelFile

NAME = "tiny-owl"
OPTIONS = f"model={NAME} family=owlvit device=cpu threads=1 threshold=0.05 most=6"
"""Weights are random: at this threshold they find something in every image."""
MISSING = ("torch", "transformers", "huggingface_hub", "onnx", "onnxscript", "safetensors")
_REVISION = "0" * 40
_SITE = """
import sys
for name in {missing!r}:
    sys.modules[name] = None  # importing it fails
import msgspec
from spatial_vlm_ros.perception import model_store
entry = msgspec.json.decode({entry!r}, type=model_store.ModelEntry)
model_store.known_models = lambda: {{entry.name: entry}}
"""


@contextlib.contextmanager
def fresh_user(folder: Path) -> Iterator[tuple[FileServer, dict[str, str]]]:
    """The mirror and environment of a user: an empty store, one OWL-ViT of random weights in the manifest, no torch."""
    made = published(folder / "published", owl("owlvit", side=768, length=16))
    files = {path: (made / path).read_bytes() for path in ("onnx/model.onnx", "tokenizer.json")}
    entry = ModelEntry(
        name=NAME, backend="onnx", options={"model": NAME, "family": "owlvit"}, about="Sees.", needs="onnx",
        licence="Apache-2.0", terms="https://x.invalid", repository="owner/owl", revision=_REVISION,
        files={path: ModelFile(len(data), hashlib.sha256(data).hexdigest()) for path, data in files.items()},
    )  # fmt: skip
    site = folder / "site"
    site.mkdir(parents=True)
    (site / "sitecustomize.py").write_text(_SITE.format(missing=MISSING, entry=msgspec.json.encode(entry)))
    environment = {
        "PYTHONPATH": os.pathsep.join(filter(None, (str(site), os.environ.get("PYTHONPATH")))),
        "SPATIAL_VLM_MODELS": str(folder / "store"),
        "COLUMNS": "200",
    }
    with FileServer({f"/owner/owl/resolve/{_REVISION}/{path}": data for path, data in files.items()}) as mirror:
        yield mirror, environment
