# SPDX-License-Identifier: Apache-2.0
"""Evaluations in shards: on one process or several, stored part by part, resumed after any failure.

`run`, `engines` and `store` know shards, rows and folders, and nothing of what a shard asks; `evaluate_cases` cuts
sources into shards and answers them. pyarrow and fsspec are imported when they are needed, never before.
"""
