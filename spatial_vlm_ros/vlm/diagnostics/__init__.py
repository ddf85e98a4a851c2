# SPDX-License-Identifier: Apache-2.0
"""Does a vision-language model look at the picture, and does it know where things are? See docs/remedies.md."""
