# SPDX-License-Identifier: Apache-2.0
"""Recorded frames and cases in, scores out; knows nothing of live robots."""
