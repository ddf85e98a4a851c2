# SPDX-License-Identifier: Apache-2.0
"""Parts of objects without detections: compartments, shelves, drawers, burners, corners, halves. docs/relations.md.

Start reading in `finding.py`.
"""
