"""The monitor: figures of one node, reported as events of the namespace `monitor`."""
