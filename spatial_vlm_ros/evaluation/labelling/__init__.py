# SPDX-License-Identifier: Apache-2.0
"""A local page on which a person writes the truth of cases: proposed from current answers, corrected, saved.

Start reading in `session.py`; docs/label.md says how it is used, ADR 0049 why it is as it is.
"""
