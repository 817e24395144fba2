"""Transports: how requests reach the Hub. A plugin is found by its entry point in `hpc.transport`.

`http_client.py` is no plugin: client and relay import it.
"""
