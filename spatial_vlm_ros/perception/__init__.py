# SPDX-License-Identifier: Apache-2.0
"""What is in the picture: detections and the models that give them."""
