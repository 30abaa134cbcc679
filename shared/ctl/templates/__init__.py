"""`plystractl templates`: application folders that are ready to start with Plystra, written from the texts in `sources/`.

What is written depends on the template, the name and the release of this tool alone: no clock, no randomness, no network, so
the same command gives the same bytes. No text holds a secret, no command here starts or migrates anything, and nothing that
exists is touched. Open `command.py` first, then `rendering.py`.
"""
