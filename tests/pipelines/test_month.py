"""Five nights of the simulated month (benchmarks/month.py)."""

import pytest

from tests.tiny_bundle import make, threshold


@pytest.fixture
def models(level_model, tmp_path):
    """Two bundles of one feature set: the second calls more speech angry."""
    louder = make(
        tmp_path / "model", ("calm", "angry"), "test_simple", threshold([0], [-33.0]), name="louder"
    )
    return level_model, louder


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_nights_with_accidents_end_as_undisturbed_ones(models, tmp_path, ser_here):
    """Roles swapped and corrected, kills, a customer forgotten, new labels; with a reader."""
    from benchmarks import month

    def run(words, environment):
        done = ser_here(*words)
        return done.returncode, done.stdout + done.stderr

    nights: list[str] = []
    wrong, counts = month.compare(
        tmp_path, "disk", 3, 5, (4, 8), models, say=nights.append, run=run
    )
    assert not wrong, "\n".join([*nights, *wrong])
    assert len(nights) == 5
    assert '"skipped": []' in counts
