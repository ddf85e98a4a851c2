# SPDX-License-Identifier: Apache-2.0
"""Does a vision-language model look at the image, and does it know where objects are? See docs/remedies.md."""
