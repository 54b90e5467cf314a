"""Processes of this machine, as others see them: which live, which holds a file's lock.

Belongs here: asking the operating system. Does not belong here: starting or ending processes (see
`run_launcher` and the supervisor of `optrade up`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

LOCKS: Final = Path("/proc/locks")
"""Every lock of the machine, where the operating system is Linux."""


def lives(pid: int) -> bool:
    """Whether there is such a process; where that can't be asked without harm, yes."""
    if os.name == "nt":
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def lock_holder(path: Path) -> int | None:
    """The process that holds a lock on `path`; None when nobody does.

    It is asked for without trying to take the lock. Raises `OSError` where there is no
    `/proc/locks`.
    """
    inode = path.stat().st_ino
    for line in LOCKS.read_text(encoding="ascii").splitlines():
        words = line.split()  # 1: FLOCK ADVISORY WRITE 4711 fd:01:1234 0 EOF
        if words[1] != "->" and words[5].rpartition(":")[2] == str(inode):
            return int(words[4])
    return None


def halted(pid: int) -> bool:
    """Whether a process was stopped (Ctrl-Z, SIGSTOP) or is dead and not buried; Linux only."""
    status = Path(f"/proc/{pid}/stat")
    return status.exists() and status.read_text("utf-8").rpartition(")")[2].split()[0] in "TtZX"
