"""Put first on PYTHONPATH: each process that imports librosa leaves a file in SER_TEST_IMPORTS."""

import os
import sys
from pathlib import Path


class _Watch:
    def find_spec(self, name, path=None, target=None):
        if name == "librosa":
            Path(os.environ["SER_TEST_IMPORTS"], str(os.getpid())).write_text(" ".join(sys.argv))


sys.meta_path.insert(0, _Watch())
