"""Namespaces that ship with hpc: data, registered through `control` like anyone's.

Found by entry point in `hpc.namespaces`; imported by nobody here, the Hub least of all.
"""

from __future__ import annotations

from typing import NamedTuple

from hpc.domain import GeneratorSpec, NamespaceSpec


class Module(NamedTuple):
    """A namespace and its generators, as an entry point loads them."""

    namespace: NamespaceSpec
    generators: list[GeneratorSpec]
