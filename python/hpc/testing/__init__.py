"""Public helpers for tests of plugins: suites that a plugin's own tests subclass.

| file           | what it is for                                                        |
|----------------|-----------------------------------------------------------------------|
| `laws.py`      | a namespace or a generator: the laws of facts, tried on the engine    |
| `event_log.py` | a storage: the contract of an event log                               |
| `processes.py` | a Hub, relays and monitors as real processes                          |
| `kills.py`     | those processes killed under load, and what must hold then            |
| `selftest.py`  | simulation, disks and kills for a minute: `hpc selftest --faults`      |
| `small_hub.py` | a Hub in memory, with a clock that a test moves                       |
| `herd.py`      | many relays in one process, at a real Hub, whose tasks cost nothing   |
| `disk/`        | disks that lose power, fill up or break, under what ships             |

`checks.py`, `lab.py`, `events.py` and `joins.py` are what `laws.py` is made of. The suites need
pytest and Hypothesis, which `pip install 'hpc-lattice[testing]'` brings; the others need neither.
Nothing else of the package imports anything from here, but for `hpc selftest`.
"""

import sys

if (pytest := sys.modules.get("pytest")) is not None:
    # Their assertions explain themselves as those of a test module do.
    pytest.register_assert_rewrite("hpc.testing.event_log")
