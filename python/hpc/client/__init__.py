"""The Hub from a Python program: submit, wait, read, cancel.

```python
from hpc import Client

job = Client().submit(["./sim", "--steps", "100"], cpu=2, memory="4G", key="sim-4")
print(job.wait()["state"], b"".join(job.log()).decode())
```

A job's id is made here, before anything is sent, and so is the batch's: whatever is lost on the way
is sent again under the same id, and is one job. Waiting is a pull that the Hub holds until
something changes; nothing polls. A `Client` is not for several threads at once; make one for each.

| module | what it is |
|---|---|
| `client.py` | `Client`: writing and reading |
| `job.py` | `Job`: one job by its id |
| `graph.py` | `Graph`: jobs that are submitted together |
| `events.py` | `Events`: what is recorded, as it comes |
| `ending.py` | when every task of a job is settled, and waiting for it |
| `patience.py` | how long a Hub that does not answer is asked again |
"""

from __future__ import annotations

from hpc.client.client import Client
from hpc.client.ending import PHASE_FINISHED, WAIT_S_MAX
from hpc.client.events import Events
from hpc.client.job import Job
from hpc.client.patience import AWAY_S_MAX
from hpc.states import SETTLED

__all__ = ["AWAY_S_MAX", "PHASE_FINISHED", "SETTLED", "WAIT_S_MAX", "Client", "Events", "Job"]
