"""From a night's tables to a plot: how negative the callers of each queue sound.

python examples/tables_to_plot.py [OUT [PICTURE]]

OUT is an output folder of `ser run`; the default is that of `make demo`. Lines with `# %%` begin a
cell: an editor such as VS Code runs them one by one, and jupytext turns them into a notebook.
"""

# %% Where the tables are
import sys
from pathlib import Path

import duckdb
import matplotlib.pyplot as plt

arguments = sys.argv[1:] if Path(sys.argv[0]).name == Path(__file__).name else []
OUT = arguments[0] if arguments else "demo/tables"
PICTURE = arguments[1] if len(arguments) > 1 else "negativity.png"

# %% The calls
# The view `calls` has the latest row of each recording. The file is only read, never written.
database = duckdb.connect(f"{OUT}/ser.duckdb", read_only=True)
print(database.sql("SELECT status, count(*) AS calls FROM calls GROUP BY 1 ORDER BY 1"))

# %% Negativity of each queue, by quarter of the call
# Weighted by seconds of speech, so that long calls count for more.
queues = database.sql("""
    SELECT meta_queue AS queue,
           count(*) AS calls,
           sum(negativity * speech_s) / sum(speech_s) AS negativity,
           avg(negativity_q1) AS q1, avg(negativity_q2) AS q2,
           avg(negativity_q3) AS q3, avg(negativity_q4) AS q4
    FROM calls WHERE status = 'labelled'
    GROUP BY queue ORDER BY negativity DESC
""")
print(queues)

# %% The plot
figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained")
for queue, calls, negativity, *quarters in queues.fetchall():
    left.barh(f"{queue} ({calls})", negativity)
    values = [float("nan") if value is None else value for value in quarters]
    right.plot(range(1, 5), values, marker="o", label=queue)
left.invert_yaxis()
left.set(title="Negativity by queue (calls)", xlabel="negativity, 0 to 1", xlim=(0, 1))
right.set(title="Through the call", xlabel="quarter of the call", xticks=range(1, 5), ylim=(0, 1))
right.legend(frameon=False)
figure.savefig(PICTURE, dpi=120)
print(f"{PICTURE} written")
