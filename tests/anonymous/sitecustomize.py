"""Google's libraries are content without credentials: Beam would look for some for 24 seconds.

Loaded by every Python that has this folder on its path; see `tests.object_stores`.
"""

import google.auth
from google.auth.credentials import AnonymousCredentials

google.auth.default = lambda *args, **options: (AnonymousCredentials(), "test")
