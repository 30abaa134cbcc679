"""Applies each service's versioned SQL to its database, and proves what has been applied.

It promises: a migration, yoyo's mark and our ledger row become durable together or not at all; one migrate at a time
per service; only bytes that `migrations.lock` names are ever run; whatever differs between files, lock file, ledger and
yoyo's table is named by one code. After it the catalogue must be the expected one.
Services import nothing from here but `lockfile`, which tells them what they were built for.
Open `runner.py` first; `files.py` says what a migration file looks like.
"""
