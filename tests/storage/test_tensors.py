"""Files of tensors: what other readers of the format read, what is read of theirs, and what is refused."""

import hashlib
import io
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load, save

import torchsurgery as ts
from sameness import fingerprint
from torchsurgery.storage.tensors import DTYPES, read_header, read_tensors, write_tensors


def written(tensors):
    sink = io.BytesIO()
    write_tensors(sink, tensors)
    return sink.getvalue()


def read(data, sha256=None):
    return read_tensors(io.BytesIO(data), "some.safetensors", len(data), sha256)


def of(dtype, shape):
    generator = torch.Generator().manual_seed(0)
    count = torch.Size(shape).numel() * dtype.itemsize
    raw = torch.randint(0, 2 if dtype is torch.bool else 256, (count,), generator=generator, dtype=torch.uint8)
    return raw.view(dtype).reshape(shape)


shapes = st.lists(st.integers(0, 4), max_size=3).map(tuple)
files = st.dictionaries(
    st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=6).filter(
        lambda name: name != "__metadata__"
    ),
    st.builds(of, st.sampled_from(sorted(DTYPES.values(), key=str)), shapes),
    max_size=5,
)


@given(files)
def test_there_and_back(tensors):
    data = written(tensors)
    found = read(data, hashlib.sha256(data).hexdigest())
    assert found.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert found[name].dtype is tensor.dtype and found[name].shape == tensor.shape
        assert fingerprint(found[name]) == fingerprint(tensor)


@given(files)
def test_other_readers_read_ours_and_ours_reads_theirs(tensors):
    theirs = load(written(tensors))
    ours = read(save(tensors, metadata={"format": "pt"}))
    for name, tensor in tensors.items():
        assert fingerprint(theirs[name]) == fingerprint(ours[name]) == fingerprint(tensor)


def test_views_and_other_layouts_are_written_as_what_they_show():
    base = torch.arange(24.0).reshape(2, 3, 2, 2)
    tensors = {
        "sliced": base[:, 1:],
        "turned": base.transpose(0, 1),
        "last": base.to(memory_format=torch.channels_last),
        "spread": torch.ones(1).expand(3),
        "trained": torch.nn.Parameter(base),
    }
    found = read(written(tensors))
    assert all(torch.equal(found[name], tensor) for name, tensor in tensors.items())


def test_what_is_read_is_its_own_and_can_be_trained():
    found = read(written({"a": torch.ones(3)}))["a"]
    found.add_(1)
    assert torch.equal(torch.nn.Parameter(found).detach(), torch.full((3,), 2.0))


def header(document, body=b""):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return len(data).to_bytes(8, "little") + data + body


def entry(begin, end, shape=(1,), dtype="U8"):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "a header of at most"),
        (b"\0" * 7, "a header of at most"),
        ((2**40).to_bytes(8, "little") + b"{}", "a header of at most"),
        ((3).to_bytes(8, "little") + b"{}", "a header of at most"),
        (header(b"[]"), "an object"),
        (header({"a": entry(0, 1)}), "1 bytes of tensors"),
        (header({"a": entry(0, 1)}, b"xy"), "1 bytes of tensors"),
        (header({"a": entry(1, 2)}, b"xy"), "begins at byte 0"),
        (header({"a": entry(0, 1), "b": entry(0, 1)}, b"x"), "begins at byte 1"),
        (header({"a": entry(0, 2)}, b"xy"), "1 bytes for its shape"),
        (header({"a": entry(0, 1, dtype="F128")}, b"x"), "'F64' or"),
        (header({"a": entry(0, 0, (2**40, 2**40))}), "bytes for its shape"),
        (header({"a": entry(0, 1, (-1,))}, b"x"), "a whole number from 0"),
        (header({"a": entry(0, 1, (True,))}, b"x"), "a whole number from 0"),
        (header({"a": entry(0, 1) | {"more": 1}}, b"x"), "no member but"),
        (header({"a": {"dtype": "U8", "shape": [1]}}, b"x"), "a member 'data_offsets'"),
        (header({"__metadata__": {"a": 3}}), "a line of text"),
    ],
)
def test_files_that_are_none(data, match):
    with pytest.raises(ts.RecipeError, match=match) as caught:
        read_header(io.BytesIO(data), "some.safetensors", len(data))
    assert str(caught.value).startswith("some.safetensors: ")


def test_nothing_is_allocated_for_what_is_not_there():
    data = header({"a": entry(0, 2**45, (2**45,))})
    with pytest.raises(ts.RecipeError):
        read(data)


def test_a_digest_that_is_another():
    data = written({"a": torch.ones(2)})
    with pytest.raises(ts.RecipeError, match="some of its bytes are not those that were saved"):
        read(data, "0" * 64)


def test_a_file_that_is_cut_short_while_it_is_read():
    data = written({"a": torch.ones(2)})
    with pytest.raises(ts.RecipeError, match="cut short meanwhile"):
        read_tensors(io.BytesIO(data[:-1]), "x", len(data), None)
