"""Simulation: a Hub, relays and clients in one thread; time, network and disks are by a seed.

What runs is what ships: the Hub's turn and commit over the engine, the relay's claim loop, reports
and outbox, the client's patience. What they speak to (time, network, disk, processes) is here, and
breaks as a seed says. `python -m hpc.testing.sim` runs many seeds; docs/simulation.md says what is
simulated and what is not.

| file           | is                                                                     |
|----------------|------------------------------------------------------------------------|
| `loop.py`      | an event loop over virtual time, in an order that the seed chooses      |
| `network.py`   | what is sent, and what becomes of it                                    |
| `disk.py`      | the log's disk and a node's folder: what a power cut takes              |
| `hub.py`       | the process of a Hub around `Committer`                                 |
| `link.py`      | the supervisor's side of a relay: its outbox, slots, fence, executions  |
| `relay.py`     | the process of a relay around `Claims` and `Reports`                    |
| `clients.py`   | those who submit, cancel and read                                       |
| `faults.py`    | what is done to them, and when                                          |
| `checks.py`    | what must hold, watched from outside                                    |
| `world.py`     | all of it together: one seed, one course                                |
| `mutants.py`   | rules left out, to see that the checks see                              |
"""
