"""`ser review`: segments of a night worth a listen, as a CSV and a page that plays them.

`selection` picks them from the tables, `disagreement` asks another bundle about them, `clips` finds
or copies their audio, `listing` writes the list that `ser train` reads once it has labels.
"""

from collections.abc import Callable

# Why a segment is picked.
LEAST_SURE, DISAGREEMENT, RANDOM = "least_sure", "disagreement", "random"
KINDS = (LEAST_SURE, DISAGREEMENT, RANDOM)

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
