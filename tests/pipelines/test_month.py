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
def test_nights_with_accidents_end_as_undisturbed_ones(models, tmp_path):
    """Roles swapped and corrected, kills, a customer forgotten, new labels; with a reader."""
    from benchmarks import month
    from benchmarks.nights.commands import in_this_process

    nights: list[str] = []
    wrong, counts = month.compare(
        tmp_path, ["disk"], 3, 5, (4, 8), models, say=nights.append, run=in_this_process
    )
    assert not wrong, "\n".join([*nights, *wrong])
    assert len(nights) == 7
    assert '"skipped": []' in counts
