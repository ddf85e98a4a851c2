# SPDX-License-Identifier: Apache-2.0
"""Inspect and change vision-language models: remedies, diagnostics, and models of our own.

Importing this package loads nothing; its modules import torch when they need it.
"""
