"""Other systems beside ours, in the same run: `python -m bench.peers`; see bench/README.md."""
