# SPDX-License-Identifier: Apache-2.0
"""A model that ends its process while it is imported."""

import sys

print("this machine is not supported")  # noqa: T201
sys.exit(3)
