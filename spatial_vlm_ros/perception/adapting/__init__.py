# SPDX-License-Identifier: Apache-2.0
"""Inputs of `spatial-vlm adapt`: base models from folders, and lessons from labelled views. Needs torch."""
