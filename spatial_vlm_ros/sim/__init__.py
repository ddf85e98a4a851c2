# SPDX-License-Identifier: Apache-2.0
"""Simulated worlds with known truth; this package does not judge answers."""
