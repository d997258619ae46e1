"""The table of a model's modules."""

from torchsurgery.measuring import Stats
from torchsurgery.stats import Cost, Row

NOTHING = Cost()


def row(name, *more, own=NOTHING):
    return Row((name, *more), "Linear", "", (), 1, own, own)


def test_a_table_of_rows():
    stats = Stats((row("", own=Cost(3, 2, 12, 5)), row("a", "c"), row("a.b")))
    assert (stats.params, stats.bytes, stats.macs, stats.output) == (3, 12, 5, ())
    assert [r.name for r in stats.leaves] == ["a.b"]
    assert stats["c"] is stats["a"]
