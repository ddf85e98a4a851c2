# SPDX-License-Identifier: Apache-2.0
"""Public benchmarks: one file reads and scores each; models answer them through `spatial-vlm benchmark`."""
