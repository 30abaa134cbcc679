"""`plystractl migrate`: the group of commands about the migrations of each service."""

from __future__ import annotations

from typing import Final

from cyclopts import App

from shared.ctl import migrate_apply, migrate_files, migrate_look, migrate_settle

app: Final = App(name="migrate", help="Apply, verify and show the versioned migrations of each service's database.")
app.command(migrate_apply.up)
app.command(migrate_apply.down)
app.command(migrate_look.plan)
app.command(migrate_look.verify_command, name="verify")
app.command(migrate_look.status)
app.command(migrate_settle.repair)
app.command(migrate_settle.baseline)
app.command(migrate_files.lock)
app.command(migrate_files.new)
