# SPDX-License-Identifier: Apache-2.0
"""Reports of an evaluation: HTML, Markdown, JUnit, terminal."""
