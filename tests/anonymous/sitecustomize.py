"""Anonymous Google credentials. Without any, Beam would look for credentials for 24 seconds.

Each Python with this folder on its path loads it; see `tests.object_stores`.
"""

import google.auth
from google.auth.credentials import AnonymousCredentials

google.auth.default = lambda *args, **options: (AnonymousCredentials(), "test")
