"""Stopping on a signal after the running step; a second signal stops at once."""

from __future__ import annotations

import os
import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interrupted(KeyboardInterrupt):
    """A training that a signal has ended, after all of it was saved."""

    def __init__(self, signum: int, message: str) -> None:
        super().__init__(message)
        self.signum = signum

    @property
    def status(self) -> int:
        """The exit status that is usual for the signal."""
        return 128 + self.signum


class StopRequest:
    """A context that notes Ctrl-C and SIGTERM, in the main thread.

    Elsewhere Python hears no signals, and nothing is changed. A signal that is ignored,
    as a shell's background jobs ignore Ctrl-C, stays so.

    Attributes:
        signum: The signal that came; None before one does.
    """

    signum: int | None = None

    def __enter__(self) -> StopRequest:
        self._before = {}
        if threading.current_thread() is threading.main_thread():
            for each in _SIGNALS:
                if signal.getsignal(each) is signal.SIG_IGN:
                    continue
                self._before[each] = signal.signal(each, self._take_note)
        return self

    def __exit__(self, *error: object) -> None:
        self._restore()

    def _take_note(self, signum: int, frame: FrameType | None) -> None:
        if self.signum is not None:  # the second
            self._restore()
            os.kill(os.getpid(), signum)
            return
        self.signum = signum

    def _restore(self) -> None:
        for each, handler in self._before.items():
            # None: another language's handler, which Python cannot put back.
            signal.signal(each, signal.SIG_DFL if handler is None else handler)
        self._before = {}
