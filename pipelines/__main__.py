"""`python -m pipelines` is the command `ser`."""

import sys

from pipelines.cli import main

sys.exit(main())
