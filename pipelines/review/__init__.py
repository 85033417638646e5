"""`ser review`: segments of a night to listen to, as a CSV and a page that plays them.

`selection` picks them from the tables, `disagreement` compares them with another bundle, `clips`
finds or copies their audio, `listing` writes the list that `ser train` reads once it has labels.
"""

from collections.abc import Callable

# Reasons to pick a segment.
LEAST_SURE, DISAGREEMENT, RANDOM = "least_sure", "disagreement", "random"
KINDS = (LEAST_SURE, DISAGREEMENT, RANDOM)

Say = Callable[[str], None]
Progress = Callable[[str, int, int], None]
