# SPDX-License-Identifier: Apache-2.0
"""Read and write files: input is checked before it is decoded, output is written whole or not at all.

    reading.py    bytes and lines of regular files with a limit, names inside a folder
    images.py     images and NumPy arrays; their size is read from the header before they are decoded
    documents.py  JSON, YAML and XML with limits of size and nesting
    writing.py    a file or folder, replaced in one step

docs/files.md lists what is refused and why.
"""

LARGEST_PIXELS = 1 << 25  # 33.5 million: four times 4K UHD, more than any RGB-D camera; 8-bit colour takes 100 MB
