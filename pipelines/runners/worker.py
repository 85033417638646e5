"""Beam's worker process on this machine, which ends with the process that started it.

Beam's own waits for ever where that was killed before the two had met.
"""

import runpy
import sys
import threading

from ser_core.guarded import end_with

if __name__ == "__main__":
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__")
