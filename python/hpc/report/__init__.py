"""What became of jobs as one page: figures of a log (`figures.py`), charts (`charts.py`), HTML.

It reads no file and no Hub: events and jobs are handed in, a text comes back.
"""
