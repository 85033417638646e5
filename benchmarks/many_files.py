"""A million files in one folder: how long matching takes, and how much memory.

    python benchmarks/many_files.py --files 1000000

The names are hard links to one empty file on a small disk of their own (tmpfs; needs root).
"""

from __future__ import annotations

import argparse
import datetime as dt
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from pipelines.storage import inputs  # noqa: E402


def main() -> None:
    """Print the CPU seconds and the memory."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--files", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        mount = ["mount", "-t", "tmpfs", "-o", "size=4g,nr_inodes=0", "tmpfs", name]
        subprocess.run(mount, check=True)
        try:
            first = Path(name, "call_0000000.wav")
            first.touch()
            for i in range(1, options.files):
                os.link(first, f"{name}/call_{i:07}.wav")
            memory_kb, cpu_s = _memory_kb(), time.process_time()
            found = sum(1 for _ in inputs.match([name], dates=[dt.date.today()]))
            cpu_s = time.process_time() - cpu_s
            print(
                f"{found:,} of {options.files:,} files matched in {cpu_s:.1f} CPU seconds, "
                f"with {(_memory_kb() - memory_kb) / 1024:,.0f} MB more memory"
            )
        finally:
            subprocess.run(["umount", name], check=True)


def _memory_kb() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    main()
