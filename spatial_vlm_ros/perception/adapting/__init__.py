# SPDX-License-Identifier: Apache-2.0
"""What `spatial-vlm adapt` reads and asks: bases from folders, lessons from labelled views. Needs torch."""
