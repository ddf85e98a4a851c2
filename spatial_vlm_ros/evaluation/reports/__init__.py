# SPDX-License-Identifier: Apache-2.0
"""What a person reads of an evaluation: HTML, Markdown, JUnit, the terminal."""
