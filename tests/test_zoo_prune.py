"""The pruning benchmark sees what it is there to see; its harness survives what models do."""

import os
import sys
import time
from pathlib import Path

import pytest
import torch
from torch import nn

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def zoo(monkeypatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    import zoo_prune

    yield zoo_prune
    for name in [name for name in sys.modules if name.startswith("zoo_")]:
        sys.modules.pop(name, None)


@pytest.fixture
def subject(zoo):
    """A model as the zoo has them."""

    def made(build, size=4):
        return zoo.Subject("here", "net", build, lambda model: ((torch.ones(2, size),), {}))

    return made


def two_layers():
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


def test_a_row(zoo, subject):
    row = zoo.measure(subject(two_layers))
    assert (row.problem, row.params, row.groups) == ("", 58, 1)
    assert (row.runs, row.learns, row.undone) == ("yes", "yes", "yes")
    assert row.kept == row.due == round(30 / 58, 3)
    assert float(row.error) < 1e-12
    assert row.frozen == "1× the model's output"
    assert row.trace > 0 and row.choose > 0 and row.cut > 0


def test_a_failing_model_is_a_row(zoo, subject):
    row = zoo.measure(subject(two_layers, size=5))
    assert row.problem.startswith("RuntimeError: ") and row.runs == ""


def test_a_wrong_cut_would_be_seen(zoo):
    """The channels that go were not those that are zeroed."""
    model = two_layers().double()
    x = torch.randn(3, 4, dtype=torch.float64)
    before = model(x)
    zoo.zero(model, {"0.weight": {0: (1, 2, 3)}, "0.bias": {0: (1, 2, 3)}})
    assert zoo.difference(model(x), before) > 1e-3
    assert not model[0].weight[[0, 4, 5, 6, 7]].any() and model[0].weight[1:4].all()


def test_normalised_channels_are_no_exact_ones(zoo, subject):
    row = zoo.measure(subject(lambda: nn.Sequential(nn.Linear(4, 8), nn.LayerNorm(8), nn.Linear(8, 2))))
    assert (row.runs, row.error) == ("yes", "nothing goes exactly")


def test_shares_due_know_what_is_pinned(zoo):
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.inner, self.back = nn.Linear(4, 8), nn.Linear(8, 16), nn.Linear(16, 8)

        def forward(self, x):
            x = self.stem(x)
            return x + self.back(self.inner(x))

    coupling = zoo.ts.trace(Twice(), torch.randn(1, 4))
    # The residual stream is the output: only the 16 inner channels go.
    params = {"stem": 40, "inner": 8 * 8 + 8, "back": 8 * 8 + 8}
    assert zoo.share_due(coupling, Twice()) == pytest.approx(sum(params.values()) / (40 + 144 + 136))


def test_shares_due_know_what_is_as_wide_as_what_is_pinned(zoo):
    class Attend(nn.Module):
        """Heads · width is what the code reads off the stream, which is the output."""

        def __init__(self):
            super().__init__()
            self.heads, self.q, self.out, self.inner = 3, nn.Linear(12, 12), nn.Linear(12, 12), nn.Linear(12, 12)

        def forward(self, x):
            n, length, width = x.shape
            h = self.q(x).view(n, length, self.heads, -1).softmax(1).reshape(n, length, width)
            return x + self.inner(self.out(h).relu())

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.stem, self.attend = nn.Linear(5, 12), Attend()

        def forward(self, x):
            return self.attend(self.stem(x))

    net = Net()
    coupling = zoo.ts.trace(net, torch.randn(2, 4, 5))
    # All stays but what goes from `out` to `inner`.
    left = 5 * 12 + 12 + 12 * 12 + 12 + 6 * 12 + 6 + 12 * 6 + 12
    assert zoo.share_due(coupling, net) == pytest.approx(left / (5 * 12 + 12 + 3 * (12 * 12 + 12)))


def run(zoo, subject, measure, seconds=5):
    import zoo_running

    study = zoo_running.Study("", "", zoo.Row, measure, lambda: [subject], "", (), str, seconds)
    return zoo_running.in_process(study, subject)


def test_a_row_comes_from_a_process_of_its_own(zoo, subject):
    row = run(
        zoo, subject(two_layers), lambda s: zoo.Row(s.library, s.model if hasattr(s, "model") else str(os.getpid()))
    )
    assert row.model != str(os.getpid())


def test_a_process_that_dies_is_a_row(zoo, subject):
    row = run(zoo, subject(two_layers), lambda s: os._exit(3))
    assert row.problem.startswith("its process ended with 3 after")


def test_time_is_up(zoo, subject):
    def busy(subject):
        while True:
            time.process_time()

    def caught(subject):
        try:
            busy(subject)
        except TimeoutError as error:
            return zoo.Row("here", "net", problem=str(error))

    assert run(zoo, subject(two_layers), caught, seconds=3).problem == "takes more than 3 seconds of CPU time"


def test_rows_come_back_from_their_file(zoo, monkeypatch, tmp_path):
    import zoo_running

    monkeypatch.setattr(zoo_running, "RESULTS", tmp_path)
    row = zoo.Row("here", "net", params=3, kept=0.25, frozen="a, b | c", code="x")
    subjects = [zoo.Subject("here", "net", two_layers, lambda model: ((), {}))]
    study = zoo_running.Study("", "rows.csv", zoo.Row, zoo.measure, lambda: subjects, "x", ("torch",), str)
    zoo_running.write(study, {("here", "net"): row})
    assert zoo_running.kept(study) == {("here", "net"): row}
    assert not zoo_running.to_be_run(row, "x", False)
    assert zoo_running.to_be_run(row, "y", False) and not zoo_running.to_be_run(row, "y", True)


def test_the_peer_is_measured_alike(zoo, subject):
    pytest.importorskip("torch_pruning")
    import zoo_peer

    row = zoo_peer.measure(subject(two_layers))
    assert (row.problem, row.runs, row.learns, row.lost) == ("", "yes", "yes", "")
    assert row.kept == round(30 / 58, 3)


def test_the_report_tells_both(zoo):
    import zoo_peer
    import zoo_report

    fine = {"runs": "yes", "learns": "yes", "undone": "yes", "error": "2e-16", "forward": 2.0, "trace": 1.0}
    rows = [
        zoo.Row("timm", "a: a", kept=0.26, due=0.26, choose=4.0, cut=1.0, **fine),
        zoo.Row("timm", "b: b", kept=0.8, due=0.3, choose=4.0, cut=3.0, frozen="9× softmax", **fine),
        zoo.Row("timm", "c: c", problem="no"),
    ]
    peers = [
        zoo_peer.Row("timm", "a: a", kept=0.3, forward=1.0, graph=2.0, step=3.0, runs="yes", learns="yes"),
        zoo_peer.Row("timm", "b: b", runs="yes", learns="yes", lost="ties"),
    ]
    assert zoo_report.told(rows, peers) == ["2 of 3", "2 of 2", "0.53", "1", "0.50", "3.00", "1 of 2", "5.00"]
    assert zoo_report.exceptions(rows).splitlines() == [
        "- timm b: b: 0.80 left, 0.30 due: 9× softmax",
        "- timm c: c: no",
    ]
    assert "| timm, all families | 2 of 3 | 1 of 2 |" in zoo_report.short(rows, peers)


def test_a_cut_that_is_timed_leaves_the_model_as_it_was(zoo, subject):
    model = two_layers()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    _, times = zoo.times_of(model, (torch.randn(2, 4),), {})
    assert len(times) == 4 and min(times) > 0
    assert {name: value.shape for name, value in model.state_dict().items()} == {n: v.shape for n, v in before.items()}
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_committed_results_say_what_is_claimed_of_them(zoo):
    """Whatever has been measured: no wrong cut, nothing that doesn't run, and errors of rounding at the most."""
    import zoo_report
    import zoo_running

    rows = zoo_running.read(
        (BENCHMARKS / "results" / "zoo_prune.csv").read_text(encoding="utf-8").splitlines(), zoo.Row
    )
    assert len(rows) > 100
    assert [row.model for row in rows if not zoo_report.holds(row)] == []
    assert [row.model for row in rows if zoo_report.is_exact(row) is False] == []


def test_times_at_the_published_width(zoo, subject):
    narrow = subject(two_layers)
    row = zoo.Row("here", "net")
    assert zoo.at_published_width(row, narrow) is row
    wide = zoo.replace(narrow, wide=lambda: nn.Sequential(nn.Linear(4, 64), nn.ReLU(), nn.Linear(64, 2)))
    row = zoo.at_published_width(row, wide)
    assert row.forward_wide > 0 and row.trace_wide > 0 and row.choose_wide > 0 and row.cut_wide > 0
    assert not row.wide


def test_what_has_no_times_at_its_published_width_says_why(zoo, subject, monkeypatch):
    row, narrow = zoo.Row("here", "net"), subject(two_layers)
    too_large = zoo.at_published_width(row, zoo.replace(narrow, wide=lambda: nn.Linear(100_000, 100_000)))
    assert too_large.wide == "10.0 billion parameters in two layers" and not too_large.forward_wide
    failing = zoo.at_published_width(row, zoo.replace(narrow, wide=lambda: nn.Linear(5, 2)))
    assert failing.wide.startswith("RuntimeError: ")


def test_the_report_tells_both_widths(zoo):
    import zoo_report

    times = {"forward": 1.0, "trace": 6.0, "choose": 3.0, "cut": 1.0}
    wide = {"forward_wide": 10.0, "trace_wide": 5.0, "choose_wide": 8.0, "cut_wide": 4.0}
    rows = [zoo.Row("with heads", "bert ForMaskedLM", **times, **wide)]
    rows += [zoo.Row("with heads", "gpt_oss ForCausalLM", **times, wide="6.4 billion parameters in two layers")]
    rows += [
        zoo.Row("with heads", "clip", **times),
        zoo.Row("timm", "vgg", forward=10.0, trace=1.0, choose=2.0, cut=1.0),
    ]
    text = zoo_report.widths(rows)
    assert "| tiny | 3 | 1.00 | 6.00 | 4.00 |" in text
    assert "| at their published width | 1 | 10.00 | 0.50 | 1.20 |" in text
    assert "- gpt_oss ForCausalLM tiny only: 6.4 billion parameters in two layers" in text
    assert "several networks: clip" in text and "vgg" not in text
    assert "at their published width: trace 3.25, scores + cut 2.60 forwards" in text
