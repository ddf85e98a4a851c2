# SPDX-License-Identifier: Apache-2.0
"""One file for each claim of speed: what is claimed, against which named baseline, measured in the same run."""
