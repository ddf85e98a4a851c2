# SPDX-License-Identifier: Apache-2.0
"""Scripts of the repository; not installed."""
