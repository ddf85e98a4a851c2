# SPDX-License-Identifier: Apache-2.0
"""Decisions of the live node kept as files: written, listed, answered again, and made into cases of a test."""
