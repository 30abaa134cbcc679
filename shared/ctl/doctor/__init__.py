"""`plystractl doctor`: looks at everything an installation needs, and says of each fault what was seen and what mends it.

It promises: every check is run, whatever became of the others; one that crashes or takes too long is a finding itself; it
only reads. What it can't see is told as not applicable, with the reason, and never counted as well.
It doesn't look at certificates, nor at signed checkpoints of the log, which don't exist yet.
Open `checks.py` first, the table of all checks; `examination.py` runs them.
"""
