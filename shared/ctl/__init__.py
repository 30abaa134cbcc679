"""`plystractl`: what an operator does with Plystra, one module per group of commands.

It imports no service, so what it verifies doesn't depend on the code that it verifies; it talks to services over HTTP
and to their databases by SQL. Every failure says what was found, why it matters and what to do next, and every command
ends with one of the exit codes of `shared.migrations.errors`. Open `__main__.py` first.
"""
