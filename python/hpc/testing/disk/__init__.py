"""Disks that lose power, fill up or break under the files of a Hub and of a relay.

    python -m hpc.testing.disk --seeds 500

| file           | what it is                                                                     |
|----------------|--------------------------------------------------------------------------------|
| `tape.py`      | records what reaches the disk, from SQLite and Python; can make it fail         |
| `power_cut.py` | what a power cut can leave, from a tape                                        |
| `workloads.py` | what is done on such a disk, and what must be there afterwards                 |
| `runner.py`    | cuts after every operation, faults at every operation; counts                  |

The code that writes is the code that ships, and so is the code that reads what is left. A seed
decides everything, so that what it found is found again. Nothing here needs pytest.
"""

from hpc.testing.disk.power_cut import PowerCut
from hpc.testing.disk.runner import Counts, cut_power, fail_everywhere
from hpc.testing.disk.tape import FaultVfs, Op, fault_vfs, recorded

__all__ = [
    "Counts",
    "FaultVfs",
    "Op",
    "PowerCut",
    "cut_power",
    "fail_everywhere",
    "fault_vfs",
    "recorded",
]
