"""The relay: it keeps a claim open, has its supervisor run what it is leased, and reports.

Network and protocol are Python's; starting, limiting and ending processes, and the outbox, are the
supervisor's (a process of its own, in Rust).
"""
