# SPDX-License-Identifier: Apache-2.0
"""Images as an encoder of a fixed size is to see them: all of them."""

from __future__ import annotations

from typing import Any


def show_whole_images(images: Any, vision: Any) -> None:
    """Let an image processor squash the whole image into the encoder's square, where it would cut the sides off."""
    side = int(vision.image_size)
    images.do_resize, images.size, images.do_center_crop = True, {"height": side, "width": side}, False
    if getattr(images, "do_pad", None):
        images.do_pad = False
