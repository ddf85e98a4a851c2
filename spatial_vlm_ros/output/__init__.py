# SPDX-License-Identifier: Apache-2.0
"""What people and programs read: annotated image, terminal tables, JSON and its schema."""
