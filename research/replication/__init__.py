# SPDX-License-Identifier: Apache-2.0
"""A small replication of published remedies: tiny models of the LLaVA class, trained from nothing on drawn images.

See docs/remedies.md.
"""
