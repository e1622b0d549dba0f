"""Commands: one file each, and the only wiring."""

import os
import signal
import sys

# `run` answers SIGTERM from its first moment: what it imports takes a second, and nothing is started before its end.
if sys.argv[1:2] == ["run"]:
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
