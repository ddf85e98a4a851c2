# SPDX-License-Identifier: Apache-2.0
"""Stores decisions of the live node as files, reads them, and answers them again."""
