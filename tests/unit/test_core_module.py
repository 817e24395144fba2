"""The built extension and its hand-written stub say the same."""

import hpc
from hpc import _core


def test_the_package_carries_the_version_of_its_extension() -> None:
    """A wheel whose two halves come from different builds must not pass."""
    assert hpc.__version__ == _core.__version__
