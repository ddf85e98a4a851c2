# SPDX-License-Identifier: Apache-2.0
"""Models that people can get: what there is (manifest.py), how it comes (download.py), what is here (store.py)."""
