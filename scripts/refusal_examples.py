# SPDX-License-Identifier: Apache-2.0
"""One real message of every status: docs/tutorials/refusals.md shows them."""

UNUSED = ("NEEDS_APPROVAL",)


def examples() -> dict[str, str]:
    """Status → message."""
    return {}
