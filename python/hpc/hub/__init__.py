"""The Hub's process around the engine: collect, step, commit, answer; recovery; reading logs.

It imports no storage, transport or namespace: all three are handed to `process.run_hub`.
"""
