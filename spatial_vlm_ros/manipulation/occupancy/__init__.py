# SPDX-License-Identifier: Apache-2.0
"""Obstacles from depth: measured points that are not support, target, known objects or robot. See docs/planning.md."""
