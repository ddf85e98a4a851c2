# SPDX-License-Identifier: Apache-2.0
"""Opens what lies in an object store, such as bags, by its URI. fsspec is imported when it is needed, never before."""
