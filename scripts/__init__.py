# SPDX-License-Identifier: Apache-2.0
"""Scripts of the repository; they are not installed."""
