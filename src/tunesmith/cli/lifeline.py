"""How a child process learns that its supervisor is gone.

The supervisor keeps the writing end of a pipe open and never writes. When it ends, however it
ends, the kernel closes that end; the child's read returns, and the child stops as if it had
been asked to: `kill -9` of the supervisor leaves nobody behind.
"""

import os
import signal
import threading
import time

GRACE_S = 10.0


def watch(read_end: int) -> None:
    """Ends this process once the pipe's other end is closed: politely, then for certain."""

    def wait() -> None:
        os.read(read_end, 1)
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(GRACE_S)
        os._exit(1)

    threading.Thread(target=wait, name="lifeline", daemon=True).start()
