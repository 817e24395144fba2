"""Graphs: jobs that name each other and are recorded at once, or not at all.

`plan.py` gives them ids and makes one batch of them; `document.py` reads them from a JSON file.
Pure but for ids; the command line and the Python client both go through here.
"""
