"""What a database consists of, as values: read whole, compared attribute by attribute, and put right by SQL.

It promises: everything that `coverage.py` calls covered is read in one snapshot, by any role that may connect; the same
schema gives the same catalogue on any cluster, whatever the names, the OIDs, the order of creation and the session; each
difference names object and attribute, and brings the SQL that undoes it. Rows are no part of it, nor is the order of columns.
Open `snapshot.py` first, then `compare.py`; `schema_lock.py` keeps the expected catalogue after each migration in a file.
"""
