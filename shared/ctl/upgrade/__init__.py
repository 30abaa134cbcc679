"""`plystractl upgrade`: what to look at before and after a release takes the place of another, and what to type in which order.

Both commands only read. `plan` looks at databases, running services and backups and prints the sequence with what is done
already ticked; `verify` looks at what has come of it. The sequence is data, in `steps.py`: the upgrade drill of the tests
takes the same one. Open `before.py` and `after.py` for what is looked at.
"""
