"""One measurement in a process of its own: `python child.py MODULE FUNCTION '{"parameters"}'`; its last line is JSON.

Imports nothing of the packages itself, so that each measurement pays for its own imports and for no others'.
"""

from __future__ import annotations

import importlib
import json
import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # temporary folders are removed, boxes stopped
    module, function, parameters = sys.argv[1:]
    print(json.dumps(getattr(importlib.import_module(module), function)(**json.loads(parameters))))
