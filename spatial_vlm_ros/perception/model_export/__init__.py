# SPDX-License-Identifier: Apache-2.0
"""Models of transformers as ONNX: the graphs (graphs.py), and a folder that the backend `onnx` reads (export.py)."""
