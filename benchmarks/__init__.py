# SPDX-License-Identifier: Apache-2.0
"""Benchmarks, one file per claim: the claim, a named baseline, and both measured in the same run."""

RESULTS_VARIABLE = "SPATIAL_VLM_BENCH_RESULTS"
"""Environment variable with the output folder of results; without it, benchmarks/results."""
