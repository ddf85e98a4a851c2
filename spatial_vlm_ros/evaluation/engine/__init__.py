# SPDX-License-Identifier: Apache-2.0
"""Evaluations in shards: on one process, several or a Ray cluster, stored part by part, resumed after any failure.

Knows shards, rows, folders and engines; knows nothing of what a shard asks or how an answer is judged. Ray, pyarrow and
fsspec are imported when they are needed, never before.
"""
