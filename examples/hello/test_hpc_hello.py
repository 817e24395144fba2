"""The laws of `hello`, tried as any package tries its own: `python -m pytest examples/hello`."""

import hpc_hello

from hpc.testing.laws import NamespaceLaws


class TestHello(NamespaceLaws):
    """Each law is a test."""

    module = hpc_hello
