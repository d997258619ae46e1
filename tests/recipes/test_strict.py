"""JSON from anywhere: whatever is wrong with it is said with its place."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import torchsurgery as ts
from torchsurgery.recipes.strict import Field, canonical, read_json, shortened

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**62), 2**62), st.floats(allow_nan=False, allow_infinity=False))
    | st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    lambda inside: st.lists(inside, max_size=4) | st.dictionaries(st.text("abc", max_size=3), inside, max_size=4),
    max_leaves=12,
)


@given(values)
def test_what_is_written_is_read(value):
    assert read_json(canonical(value), "x").value == value
    assert canonical(read_json(canonical(value), "x").value) == canonical(value)


def test_a_document_is_written_in_one_way():
    assert canonical({"b": 1, "a": [1, "é"]}) == '{"a":[1,"é"],"b":1}'.encode()


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b'{"a":1,"a":2}', "the key 'a' twice"),
        (b"NaN", "NaN, which is no number"),
        (b"-Infinity", "-Infinity, which is no number"),
        (b"1e400", "not finite"),
        (b"1" * 20, "a whole number of 20 digits"),
        (b"[" * 5000, "nesting without end"),
        (b'"\\ud800"', "surrogates"),
        (b"\xff", "utf-8"),
        (b"{} {}", "Extra data"),
        (b"", "Expecting value"),
    ],
)
def test_what_readers_take_different_views_of(data, match):
    with pytest.raises(ts.RecipeError, match=match) as caught:
        read_json(data, "some.json")
    assert str(caught.value).startswith("some.json: ")


def test_size_has_an_end():
    with pytest.raises(ts.RecipeError, match="at most 10 bytes"):
        read_json(b" " * 11, "x", 10)
    with pytest.raises(ts.RecipeError, match="at most 3 entries"):
        read_json(b"[1,2,3,4]", "x", 100, 3)


class TestField:
    def test_paths(self):
        field = Field({"a": [{"b": 1}]}, "x.json")
        assert field.members("a")["a"].items()[0].members("b")["b"].path == "a[0].b"

    def test_members(self):
        field = Field({"layer": 1}, "x", "top")
        assert field.members("layer")["layer"].value == 1
        with pytest.raises(ts.RecipeError, match="x: top is not what it must be") as caught:
            Field({"layr": 1}, "x", "top").members("layer")
        assert "did you mean layer?" in str(caught.value)
        assert caught.value.name == "top"
        with pytest.raises(ts.RecipeError, match="a member 'b'"):
            Field({"a": 1}, "x").members("a b")
        with pytest.raises(ts.RecipeError, match="an object with a, b"):
            Field([], "x").members("a b")

    @pytest.mark.parametrize("value", [True, 1.0, "1", None, 8, -1, [1]])
    def test_whole_numbers(self, value):
        assert Field(7, "x").whole(0, 7) == 7
        with pytest.raises(ts.RecipeError, match="a whole number from 0 to 7"):
            Field(value, "x").whole(0, 7)

    def test_texts(self):
        assert Field("abc", "x").text() == "abc"
        for value in (1, "a\nb", "x" * 5000, None):
            with pytest.raises(ts.RecipeError, match="a line of text"):
                Field(value, "x").text()
        assert Field("b", "x").one_of("a", "b") == "b"
        for value in ("c", ["a"], None):
            with pytest.raises(ts.RecipeError, match="'a' or 'b'"):
                Field(value, "x").one_of("a", "b")

    def test_lists(self):
        assert [item.value for item in Field([1, 2], "x").row(2)] == [1, 2]
        for value in ([1], {"0": 1}, "ab"):
            with pytest.raises(ts.RecipeError, match="a list of 2"):
                Field(value, "x").row(2)
        with pytest.raises(ts.RecipeError, match="a list of at least 1"):
            Field([], "x").items(1)
        with pytest.raises(ts.RecipeError, match="an object"):
            list(Field(3, "x").entries())


def test_shown_values_are_short():
    assert shortened("a\n b") == "a b"
    assert len(shortened("x" * 500)) <= 120
    assert shortened("\ud800") == "\\ud800"
