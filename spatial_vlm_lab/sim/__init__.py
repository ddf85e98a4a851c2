# SPDX-License-Identifier: Apache-2.0
"""Random worlds, and labelled views of them to train and adapt on."""
