# SPDX-License-Identifier: Apache-2.0
"""Small models in folders, made once."""

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def bases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder with a base of the class LLaVA, an encoder of each kind, and labelled frames."""
    pytest.importorskip("torch")
    pytest.importorskip("transformers")
    from small_scorers import ENCODERS
    from tiny_bases import base_folder, encoder_folder, frames_folder

    folder = tmp_path_factory.mktemp("bases")
    base_folder(folder / "llava")
    for kind in ENCODERS:
        encoder_folder(folder / kind, kind)
    frames_folder(folder / "frames", 8)
    return folder
