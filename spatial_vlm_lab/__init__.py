# SPDX-License-Identifier: Apache-2.0
"""What a robot does not run: scoring, labelling, comparing, public benchmarks, training (extra `lab`)."""
