# SPDX-License-Identifier: Apache-2.0
"""Export transformers models to ONNX: the graphs (graphs.py), and a folder for the backend `onnx` (export.py)."""
