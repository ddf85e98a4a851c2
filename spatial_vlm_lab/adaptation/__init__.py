# SPDX-License-Identifier: Apache-2.0
"""Joins simulator, labelled frames, training and scoring, which do not import each other, for `spatial-vlm adapt`."""
