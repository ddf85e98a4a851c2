# SPDX-License-Identifier: Apache-2.0
"""The one way in and the one way out for files: checked before they are decoded, written whole or not at all.

    reading.py    bytes and lines of regular files with a limit, names inside a folder
    images.py     images whose size is read from the header before they are decoded
    arrays.py     .npy and .npz without pickles, their size checked before they are loaded
    documents.py  JSON, YAML and XML with limits of size and nesting
    writing.py    a file, replaced in one step
    folders.py    a folder, replaced in one step

docs/files.md lists what is refused and why.
"""
