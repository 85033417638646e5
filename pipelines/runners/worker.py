"""Beam's worker process on this machine. It ends with the process that started it.

Beam's own worker waits for ever if that process is killed before they are connected. The arguments
are the process id of the launcher and the mark of the run.
"""

import runpy
import sys
import threading

from pipelines.runners.private import connect_privately
from ser_core.child import end_with

if __name__ == "__main__":
    threading.Thread(target=end_with, args=(int(sys.argv[1]),), daemon=True).start()
    connect_privately()
    runpy.run_module("apache_beam.runners.worker.sdk_worker_main", run_name="__main__")
