# SPDX-License-Identifier: Apache-2.0
"""Models that users can fetch: the list (manifest.py), the download (download.py) and the local store (store.py)."""
