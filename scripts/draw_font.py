# SPDX-License-Identifier: Apache-2.0
"""Draw the characters for text on images: a sheet of them and their widths, for `output/drawing.py`.

OpenCV in common robot distributions draws letters like a plotter, in single strokes and only in ASCII. Needs Pillow and
the files of Roboto (Apache-2.0), for example from `pip download --no-deps font-roboto`.
Run: python -m scripts.draw_font FOLDER/Roboto-Regular.ttf FOLDER/Roboto-Medium.ttf
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

FOLDER = Path(__file__).resolve().parent.parent / "spatial_vlm_ros" / "output" / "font"
EM = 40  # pixels: twice the largest usual size, because letters are only ever shrunk
ASCENT, DESCENT = 38, 10  # pixels above and below the baseline
CELL = 44  # pixels: width of a cell
LEFT = 4  # pixels in a cell before the character begins: some extend to the left
COLUMNS = 32
_PUNCTUATION = "–—‘’“”…•≤≥≈−"
SIGNS = "".join(map(chr, (*range(0x20, 0x7F), *range(0xA1, 0x180)))) + _PUNCTUATION


def sheet(path: Path) -> tuple[Image.Image, list[float]]:
    """All characters of a font, white on black, one per cell; and the advance of each, pixels."""
    font, large = ImageFont.truetype(str(path), EM), ImageFont.truetype(str(path), 16 * EM)
    rows = -(-len(SIGNS) // COLUMNS)
    image = Image.new("L", (COLUMNS * CELL, rows * (ASCENT + DESCENT)), 0)
    draw = ImageDraw.Draw(image)
    for number, sign in enumerate(SIGNS):
        row, column = divmod(number, COLUMNS)
        place = (column * CELL + LEFT, row * (ASCENT + DESCENT) + ASCENT)
        draw.text(place, sign, fill=255, font=font, anchor="ls")
    return image, [round(large.getlength(sign) / 16, 2) for sign in SIGNS]


def main() -> int:
    """Write the sheets and their measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("regular", type=Path)
    parser.add_argument("strong", type=Path)
    given = parser.parse_args()
    FOLDER.mkdir(parents=True, exist_ok=True)
    widths = {}
    for name in ("regular", "strong"):
        image, widths[name] = sheet(getattr(given, name))
        image.save(FOLDER / f"{name}.png", optimize=True)
    measures = {"em": EM, "ascent": ASCENT, "descent": DESCENT, "cell": CELL, "left": LEFT, "columns": COLUMNS}
    text = json.dumps({**measures, "signs": SIGNS, "widths": widths}, ensure_ascii=True)
    (FOLDER / "measures.json").write_text(text + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
