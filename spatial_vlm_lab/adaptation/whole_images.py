# SPDX-License-Identifier: Apache-2.0
"""Make an encoder of fixed size see whole images."""

from __future__ import annotations

from typing import Any


def show_whole_images(images: Any, vision: Any) -> None:
    """Make an image processor squash the whole image into the encoder's square instead of cropping its sides."""
    side = int(vision.image_size)
    images.do_resize, images.size, images.do_center_crop = True, {"height": side, "width": side}, False
    if getattr(images, "do_pad", None):
        images.do_pad = False
