"""`plystractl schema`: the group of commands about what the services expect of their databases."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from shared.ctl import queries

app: Final = App(name="schema", help="Compare each service's database with what the service expects of it.")
app.command(queries.queries)
app.command(queries.lock_queries_command, name="lock-queries")
