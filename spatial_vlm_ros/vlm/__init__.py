# SPDX-License-Identifier: Apache-2.0
"""Vision-language models from the inside: remedies and diagnostics on them, and models of our own.

Importing this package loads nothing; its modules import torch where they need it.
"""
