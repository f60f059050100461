"""Threads that can wait, and let those go first that cannot."""

import os
import sys
import threading

_LAST = 19


def give_way() -> None:
    """Let every other thread go before the one that calls this, where the system has such a thing for threads."""
    # Linux keeps a priority for each thread. Elsewhere it would be the whole process', which must stay quick.
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _LAST)
