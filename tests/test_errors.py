"""The exception tree, and how a message is laid out."""

import pytest

import torchsurgery as ts

TREE = {
    ts.SelectionError: ts.SurgeryError,
    ts.PlanError: ts.SurgeryError,
    ts.ConfigError: ts.PlanError,
    ts.SourceError: ts.SurgeryError,
    ts.TraceError: ts.SurgeryError,
    ts.CouplingError: ts.SurgeryError,
    ts.VerificationError: ts.SurgeryError,
    ts.RecipeError: ts.SurgeryError,
}


@pytest.mark.parametrize("kind", TREE, ids=lambda kind: kind.__name__)
def test_tree(kind):
    assert kind.__bases__ == (TREE[kind],)


def test_message_says_what_then_the_particulars_and_last_the_way_out():
    error = ts.PlanError("fc can't go.", "expected 10, got 7", way_out="use  ts.set_outputs(model, 10)")
    assert str(error) == "fc can't go.\n  expected 10, got 7\n  use  ts.set_outputs(model, 10)"


def test_data_is_on_the_exception():
    error = ts.PlanError("no.", name="fc", expected=10, got=7, way_out="ask again")
    assert (error.name, error.expected, error.got, error.way_out) == ("fc", 10, 7, "ask again")


def test_nothing_but_a_message_is_needed():
    error = ts.SurgeryError("no.")
    assert str(error) == "no."
    assert (error.name, error.expected, error.got, error.way_out) == (None, None, None, None)


def test_verification_error_has_no_checks_before_one_began():
    assert ts.VerificationError("no.").checks is None
