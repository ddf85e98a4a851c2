# SPDX-License-Identifier: Apache-2.0
"""Checks of frames, streams, arms, bags and models: each yields findings, which `spatial-vlm doctor` prints."""
