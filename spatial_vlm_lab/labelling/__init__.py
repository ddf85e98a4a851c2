# SPDX-License-Identifier: Apache-2.0
"""A local page on which a person labels cases: truth is proposed from current answers, corrected, and saved.

Start reading in `session.py`; docs/label.md says how it is used, ADR 0013 why it is as it is.
"""
