# SPDX-License-Identifier: Apache-2.0
"""Evaluations in shards: on one process, several or a Ray cluster, stored part by part, resumed after any failure.

`run`, `workers`, `local`, `ray_engine`, `parts`, `store` and `lock` know shards, rows and folders, and nothing of what
a shard asks; `case_shards` and `case_task` cut sources into shards and answer them; `remote_bag`, `ranged` and `uris`
open what lies in a store. Ray, pyarrow and fsspec are imported when they are needed, never before.
"""
