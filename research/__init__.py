# SPDX-License-Identifier: Apache-2.0
"""Experiments that judge the package; never installed."""
