# SPDX-License-Identifier: Apache-2.0
"""Tables before the simulated arms, set with other people's objects; docs/sim_arm.md says what is in them.

Written for `research.experiments.arm_on_others`. No mesh is part of this repository: they are read from checkouts.
"""
