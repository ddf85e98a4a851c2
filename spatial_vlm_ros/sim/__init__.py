# SPDX-License-Identifier: Apache-2.0
"""Worlds with known truth; knows nothing of how they are judged."""
