# SPDX-License-Identifier: Apache-2.0
"""One file for each claim of speed: what is claimed, against which named baseline, measured in the same run."""

RESULTS_VARIABLE = "SPATIAL_VLM_BENCH_RESULTS"
"""Environment variable with the folder that results are written to; benchmarks/results where it is not set."""
