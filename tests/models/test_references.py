"""References taken apart."""

import pytest

import torchsurgery as ts
from torchsurgery.models import runs_code, with_arguments
from torchsurgery.models.references import Reference, close_names, closest, parse, split_arguments


@pytest.mark.parametrize(
    ("text", "source", "where", "what"),
    [
        ("torchvision:resnet18", "torchvision", "resnet18", ""),
        ("timm:convnext_tiny.fb_in1k", "timm", "convnext_tiny.fb_in1k", ""),
        ("hf:org/name", "hf", "org/name", ""),
        ("hf:org/name@v1.2", "hf", "org/name", "v1.2"),
        ("nets/mine.py:build", "file", "nets/mine.py", "build"),
        ("C:\\nets\\mine.py:Net", "file", "C:\\nets\\mine.py", "Net"),
        ("pkg.mod:build", "module", "pkg.mod", "build"),
        ("pkg.mod:Net.small", "module", "pkg.mod", "Net.small"),
        ("timm.models:create", "module", "timm.models", "create"),
    ],
)
def test_parse(text, source, where, what):
    assert parse(text) == Reference(text, source, where, what)


def test_a_folder_is_one_that_is_there(tmp_path):
    assert parse(str(tmp_path)).source == "folder"
    with pytest.raises(ts.SourceError):
        parse(str(tmp_path / "other"))


@pytest.mark.parametrize("text", ["timm:", "hf:", "torchvision:"])
def test_a_source_without_a_name(text):
    with pytest.raises(ts.SourceError, match="names no model") as caught:
        parse(text)
    assert caught.value.way_out.startswith("for example")


def test_a_source_unlike_any():
    with pytest.raises(ts.SourceError) as caught:
        parse("http://x{y}/z")
    assert "'http' is no source of models" in str(caught.value)
    assert "torchvision:resnet18" in caught.value.way_out


def test_a_file_without_a_builder(tmp_path):
    file = tmp_path / "net.py"
    file.write_text("import os\ndef make(): ...\nclass Net: ...\ndef _own(): ...\n")
    with pytest.raises(ts.SourceError) as caught:
        parse(str(file))
    assert "it defines make, Net" in str(caught.value)
    assert caught.value.way_out.endswith("net.py:make")


@pytest.mark.parametrize("content", [b"def (:", b"\0", None])
def test_a_file_that_cannot_be_read_without_a_builder(tmp_path, content):
    file = tmp_path / "net.py"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ts.SourceError) as caught:
        parse(str(file))
    assert caught.value.way_out.endswith("net.py:build")


@pytest.mark.parametrize("text", ["", "resnet18", "a b:c", "1x:y"])
def test_what_is_no_reference(text):
    with pytest.raises(ts.SourceError, match="no reference to a model"):
        parse(text)


def test_close_names():
    known = ["resnet18", "resnet34", "vgg11"]
    assert close_names("resnet81", known)[0] == "resnet18"
    assert close_names("vgg", known) == ["vgg11"]
    assert close_names("zzz", known) == []
    assert close_names("Gelu", ["GELU", "ReLU"])[0] == "GELU"


def test_closest():
    assert closest("tim", ["timm"], "write {}") == "write timm"
    assert closest("zzz", ["timm"], "write {}") is None


@pytest.mark.parametrize(
    ("text", "name", "arguments"),
    [
        ("torchvision:resnet18", "torchvision:resnet18", {}),
        ("torchvision:resnet18(num_classes=10)", "torchvision:resnet18", {"num_classes": 10}),
        ("a/b.py:build(w=[1, 2], act='(relu)')", "a/b.py:build", {"w": [1, 2], "act": "(relu)"}),
        ("pkg.mod:build()", "pkg.mod:build", {}),
        ("some (1)/folder", "some (1)/folder", {}),
    ],
)
def test_arguments_behind_a_reference(text, name, arguments):
    assert split_arguments(text) == (name, arguments)


@pytest.mark.parametrize("inside", ["10", "a=b", "a=1, **b", "a=__import__('os')", "a=", "a=1)(", "*[1]"])
def test_what_are_no_arguments(inside):
    with pytest.raises(ts.SourceError):
        ts.build(f"torchvision:resnet18({inside})")


def test_arguments_are_written_so_that_they_are_read_again():
    text = with_arguments("pkg.mod:build(a=1, b='x')", {"a": 2, "c": (1, None)})
    assert split_arguments(text) == ("pkg.mod:build", {"a": 2, "b": "x", "c": (1, None)})
    assert with_arguments("timm:resnet18", {}) == "timm:resnet18"


@pytest.mark.parametrize(
    ("text", "runs"),
    [("timm:resnet18(num_classes=3)", False), ("hf:a/b", False), ("a.py:b", True), ("os:system(command='x')", True)],
)
def test_who_runs_code(text, runs):
    assert runs_code(text) is runs
