"""The audit service: an insert-only, gap-free log of events, and the searches over it.

It promises that what it acknowledged is in the log once, byte for byte, whatever fails; that an entry is never changed;
and that a search sees each entry once. It does not judge what producers say, only whether it has the form.

Open `log.py` first: one session of one process writes. `migrations/audit/` states the law that the database keeps.
"""
