"""`torchsurgery verify`."""


def test_a_model(run, nets):
    answer = run("verify", "nets.py:small")
    assert answer.code == 0
    assert answer.out.startswith("verify nets.py:small\n\n  ✓ forward runs")


def test_with_edits(run, nets):
    answer = run("verify", "nets.py:small", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8")
    assert answer.code == 0
    assert "✓ new layers called       2 of 2" in answer.out


def test_one_that_does_not_hold(run, nets):
    answer = run("verify", "nets.py:sigmoid", "-e", "insert: {with: ReLU, inplace: true, after: Sigmoid}", "-i", "2,4")
    assert answer.code == 1
    assert "  ✗ " in answer.out
    assert answer.err == ""


def test_for_machines(run, nets):
    data = run("verify", "nets.py:small", "-i", "2,3,8,8", "--json").data
    assert data["ok"] is True
    assert data["checks"][0]["name"] == "forward runs"


def test_inputs_that_do_not_fit(run, nets):
    assert run("verify", "nets.py:small", "-i", "2,4,8,8").code == 1


def test_nothing_is_missed_in_a_model_that_was_not_altered(run, nets):
    answer = run("verify", "nets.py:small", "-i", "2,3,8,8")
    assert answer.code == 0
    assert "new layer" not in answer.out
    assert (
        "new layers called"
        in run("verify", "nets.py:small", "-e", "replace: {target: ReLU, with: GELU}", "-i", "2,3,8,8").out
    )
