# SPDX-License-Identifier: Apache-2.0
"""Grounders that need a heavy library, one in a file; a file here is imported only when its backend is loaded."""
