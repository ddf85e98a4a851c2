# SPDX-License-Identifier: Apache-2.0
"""Relations as boxes, depth and models judge them, beside each other."""
