"""The command line: one file per noun, each of them imported only when its command is typed.

A client command imports neither the Hub nor anything heavy: from Enter to prompt it may take no
longer than a shell user notices. `tree.py` knows which noun is where, `output.py` how things look.
"""
