import pytest

from trl_forking import ForkingGRPOConfig
from trl_forking.selection.schedule import compute_share


@pytest.mark.parametrize(("first", "last"), [(0.2, 1.0), (1.0, 0.1), (0.3, 0.3), (0.07, 0.9)])
def test_a_straight_line_over_four_fifths_of_the_run(first, last):
    shares = [compute_share(first, last, step, max_steps=50) for step in range(51)]
    expected = [first + (last - first) * min(step / 40, 1) for step in range(51)]
    assert shares == pytest.approx(expected) and shares[0] == first and shares[40:] == [last] * 11
    assert all(0 < share <= 1 for share in shares)


def test_without_an_end_or_a_length_nothing_changes():
    assert compute_share(0.2, None, 7, max_steps=10) == compute_share(0.2, 1.0, 7, max_steps=0) == 0.2


@pytest.mark.parametrize("end", [0, -1, 1.5, "1", True])
def test_an_impossible_end_is_refused(end):
    with pytest.raises(ValueError, match=r"^top_entropy_quantile_end must be a number in \(0, 1\], but it is"):
        ForkingGRPOConfig("runs/none", use_cpu=True, top_entropy_quantile_end=end)


@pytest.mark.parametrize(
    ("start", "end", "drops"), [(1.0, None, False), (1.0, 1.0, False), (1.0, 0.2, True), (0.2, 1.0, True)]
)
def test_a_schedule_that_leaves_one_is_a_selection(start, end, drops):
    config = ForkingGRPOConfig("runs/none", use_cpu=True, top_entropy_quantile=start, top_entropy_quantile_end=end)
    assert config.drops_tokens == drops
