# SPDX-License-Identifier: Apache-2.0
"""Output for people and programs: annotated image, terminal tables, JSON and its schema."""
