"""Backups of one service's database: made, checked, put back and rehearsed.

A backup is a folder with `manifest.json` and `database.dump`, both of one snapshot: the manifest describes exactly what is
dumped. It appears under its name whole or not at all; any changed byte of either file is found without a database.
It doesn't promise who made it: the manifest's digest finds damage and mix-ups, not a forger. Begin with `manifest.py`.
"""
