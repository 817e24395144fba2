"""Python calls that run on relays: what an executor and its workers have in common, and a worker.

    executor (hpc/executor.py)                          a relay's machine
    crew.py ── CallsSent ──▶ Hub ──▶ worker.py ── frames ──▶ interpreter.py
       ▲ ───── CallsReturned ◀── Hub ◀──┘   ▲ ─────────────────┘

`messages.py` says how calls lie in events, `frames.py` how a worker talks to its interpreter.
Only `pickled.py` turns calls into bytes and back, and only the two ends load it: the executor and
the interpreter. What lies between them moves texts.
"""
