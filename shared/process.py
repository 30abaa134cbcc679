"""Child processes that end with the process that started them.

A supervisor that is killed outright cannot clean up, so the kernel does it: `PR_SET_PDEATHSIG` sends the child a
signal when its parent dies. The setting belongs to the child, is cleared by a change of user, and survives `exec`.
Running Python between fork and exec (`preexec_fn`) is unsafe beside threads, so a child is started through a tiny
second program that gives up root, asks for the signal and then becomes the wanted program under the same pid.

Take care: Linux means the *thread* that called fork. Start such children from a thread that lives as long as they do.
"""

from __future__ import annotations

import dataclasses
import os
import pwd
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Final

# argv: signal, expected parent, uid, gid (-1: stay), niceness, program, arguments...
# SIGPIPE and SIGXFSZ are ignored by the interpreter, and what is ignored stays ignored across exec.
_LAUNCHER: Final = """\
import ctypes, os, signal, sys
number, parent, uid, gid, niceness = map(int, sys.argv[1:6])
os.nice(niceness)
if uid >= 0:
    os.setgroups([gid])
    os.setgid(gid)
    os.setuid(uid)
if sys.platform == "linux":
    ctypes.CDLL(None).prctl(1, number)
    if os.getppid() != parent:
        sys.exit("the process that started this one is gone")
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
os.execv(sys.argv[6], sys.argv[6:])
"""


@dataclasses.dataclass(frozen=True)
class Account:
    """A user of this machine that a child runs as."""

    name: str
    uid: int
    gid: int

    @classmethod
    def named(cls, name: str) -> Account | None:
        """Return the account of that name, or None when the machine has none."""
        try:
            entry = pwd.getpwnam(name)
        except KeyError:
            return None
        return cls(name=entry.pw_name, uid=entry.pw_uid, gid=entry.pw_gid)


def tied(
    command: Sequence[str],
    *,
    on_parent_death: signal.Signals = signal.SIGTERM,
    account: Account | None = None,
    niceness: int = 0,
) -> list[str]:
    """Return the command line that runs `command` tied to this process, as `account` if given, as nice as told.

    The first word of `command` is an absolute path. The result goes to any subprocess function as it is; the pid of the
    started process is the pid of the program itself.
    """
    uid, gid = (account.uid, account.gid) if account else (-1, -1)
    words = [str(int(on_parent_death)), str(os.getpid()), str(uid), str(gid), str(niceness), *command]
    # -I -S: neither the environment nor site-packages take part, and it starts in 30 ms.
    return [sys.executable, "-I", "-S", "-c", _LAUNCHER, *words]


def is_alive(pid: int) -> bool:
    """Tell whether a process of that id exists and has not ended (a zombie has)."""
    stat = Path(f"/proc/{pid}/stat")
    if Path("/proc/self/stat").exists():
        try:
            return stat.read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
        except OSError:
            return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def children_of(pid: int) -> list[int]:
    """Return the ids of the processes that `pid` started and that still run (Linux; elsewhere none)."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # it ended while we were looking
        if int(fields[1]) == pid:
            found.append(int(stat.parent.name))
    return found
