# SPDX-License-Identifier: Apache-2.0
"""Stores decisions of the live node as files; lists them, answers them again, and makes test cases of them."""
