# SPDX-License-Identifier: Apache-2.0
"""How `spatial-vlm adapt` joins simulator, labelled frames, training and scoring, which know nothing of each other."""
