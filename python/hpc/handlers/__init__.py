"""Handlers: each turns a lease into work for the supervisor.

Found by entry point, imported by nobody. A handler plans and starts nothing; tasks that it cannot
plan it refuses by an `HpcError`.
"""
