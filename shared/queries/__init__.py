"""The statements of the services as part of the schema: each takes the parameters and gives the columns that the code knows.

`services/<service>/queries.lock.json` has every statement with the types of its parameters and its columns, as they are
on the migrated schema; tests prove it current, and equal to the Structs that the rows fill. `check_queries` prepares each of
them on a live database, as the service's own role, and names what has become of it. Nothing is executed or changed.
Open `check.py` first.
"""
