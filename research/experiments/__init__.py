# SPDX-License-Identifier: Apache-2.0
"""Long experiments: `python -m research.experiments.NAME`. Figures go to research/results."""

import os
from pathlib import Path

from benchmarks import RESULTS_VARIABLE

RESULTS = Path(os.environ.get(RESULTS_VARIABLE) or Path(__file__).parents[1] / "results")
"""Folder of the figures; the variable names another one, so that tests leave the kept figures alone."""
