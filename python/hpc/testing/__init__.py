"""Public helpers for tests of plugins: contract suites that a plugin's own tests subclass.

Needs pytest, which `pip install 'hpc-lattice[dev]'` brings; nothing else of the package imports it.
"""

import pytest

# Their assertions explain themselves as those of a test module do.
pytest.register_assert_rewrite("hpc.testing.event_log")
