"""Files of tensors in the safetensors format, written and read in one pass in which their digest is taken.

The format is a length, a header in JSON, and the tensors' bytes one behind the other. It has no checksum, and of a name
that is there twice readers take the last one: here every byte counts into a sha256, and a header that is not in the one
way to write it down is refused.
"""

from __future__ import annotations

import hashlib
import io
import json
import math
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import BinaryIO, Protocol

import torch
from torch import Tensor

from ..errors import RecipeError
from ..progress import Advance
from ..recipes.strict import Field, read_json

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "C64": torch.complex64,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U64": torch.uint64,
    "U32": torch.uint32,
    "U16": torch.uint16,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_MOST_HEADER = 16 << 20
_MOST_ITEMS = 600_000
_PIECE = 16 << 20


class Sink(Protocol):
    """Where bytes go."""

    def write(self, data: bytes | memoryview, /) -> object:
        """Take some bytes."""


@dataclass(frozen=True, slots=True)
class Slot:
    """What a header says of one tensor.

    Attributes:
        dtype: Of its entries.
        shape: As in `Tensor.shape`.
        begin: Where its bytes begin, counted from the end of the header.
        end: Where they end.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    begin: int
    end: int


def write_tensors(sink: Sink, tensors: Mapping[str, Tensor], advance: Advance | None = None) -> None:
    """Write tensors as one file that any reader of safetensors takes; `advance` is told the bytes of each piece."""
    # The widest first, so that every one begins at a multiple of its width.
    ordered = sorted(tensors.items(), key=lambda item: (-item[1].element_size(), item[0]))
    header = "".join(_entries(ordered))
    data = f'{{"__metadata__":{{"format":"pt"}}{header}}}'.encode()
    data += b" " * (-len(data) % 8)
    sink.write(struct.pack("<Q", len(data)))
    sink.write(data)
    for _, tensor in ordered:
        for piece in _bytes_of(tensor.detach().to("cpu").contiguous()):
            sink.write(piece)
            if advance is not None:
                advance(len(piece))


def _entries(ordered: list[tuple[str, Tensor]]) -> Iterator[str]:
    begin = 0
    for name, tensor in ordered:
        end = begin + tensor.numel() * tensor.element_size()
        entry = {"dtype": NAMES[tensor.dtype], "shape": list(tensor.shape), "data_offsets": [begin, end]}
        yield f",{json.dumps(name, ensure_ascii=False)}:{json.dumps(entry, separators=(',', ':'))}"
        begin = end


def _bytes_of(tensor: Tensor) -> Iterator[memoryview]:
    """The bytes of a contiguous tensor on the CPU, in pieces; the tensor's own memory, not a copy."""
    if tensor.numel():
        view = memoryview(tensor.reshape(-1).view(torch.uint8).numpy().data)
        for begin in range(0, len(view), _PIECE):
            yield view[begin : begin + _PIECE]


def read_header(file: BinaryIO, where: str, size: int) -> tuple[dict[str, Slot], bytes]:
    """What a file of tensors holds, by name, and its bytes up to the first tensor.

    Args:
        file: At its beginning.
        where: Its name, for errors.
        size: How many bytes it has.

    Raises:
        RecipeError: if it isn't a whole file of this format.
    """
    start = file.read(8)
    length = struct.unpack("<Q", start)[0] if len(start) == 8 else 0
    if not 2 <= length <= min(_MOST_HEADER, size - 8):
        Field(None, where).refuse(f"a header of at most {_MOST_HEADER:,} bytes", f"{length:,} in a file of {size:,}")
    data = file.read(length)
    document = read_json(data, where, _MOST_HEADER, _MOST_ITEMS)
    slots = dict(_slots(document))
    _refuse_gaps(slots, document, size - 8 - length)
    return slots, start + data


def _slots(document: Field) -> Iterator[tuple[str, Slot]]:
    for name, entry in document.entries():
        if name == "__metadata__":
            for _, note in entry.entries():
                note.text()
            continue
        members = entry.members("dtype shape data_offsets")
        members["dtype"].one_of(*DTYPES)
        dtype = DTYPES[members["dtype"].value]
        shape = tuple(size.whole(0, 2**48) for size in members["shape"].items())
        begin, end = (offset.whole(0, 2**60) for offset in members["data_offsets"].row(2))
        if end - begin != math.prod(shape) * dtype.itemsize or len(shape) > 64:
            entry.refuse(f"{math.prod(shape) * dtype.itemsize:,} bytes for its shape", f"{end - begin:,}")
        yield name, Slot(dtype, shape, begin, end)


def _refuse_gaps(slots: Mapping[str, Slot], document: Field, size: int) -> None:
    """Every byte belongs to one tensor."""
    end = 0
    for slot in sorted(slots.values(), key=lambda slot: (slot.begin, slot.end)):
        if slot.begin != end:
            document.refuse(f"a tensor that begins at byte {end:,}", f"{slot.begin:,}")
        end = slot.end
    if end != size:
        document.refuse(f"{end:,} bytes of tensors", f"{size:,}")


def read_tensors(
    file: BinaryIO, where: str, size: int, sha256: str | None, advance: Advance | None = None
) -> dict[str, Tensor]:
    """The tensors of a file, by name, on the CPU.

    Args:
        file: At its beginning.
        where: Its name, for errors.
        size: How many bytes it has.
        sha256: What its digest must be; None to believe the bytes.
        advance: Is told the bytes of each piece that has been read.

    Raises:
        RecipeError: if it isn't the file that it must be.
    """
    slots, head = read_header(file, where, size)
    digest = hashlib.sha256(head)
    found: dict[str, Tensor] = {}
    for name, slot in sorted(slots.items(), key=lambda item: (item[1].begin, item[1].end)):
        found[name] = tensor = torch.empty(slot.shape, dtype=slot.dtype)
        for piece in _bytes_of(tensor):
            if _fill(file, piece) < len(piece):
                Field(None, where).refuse(f"{size:,} bytes", "fewer: it was cut short meanwhile")
            if sha256 is not None:
                digest.update(piece)
            if advance is not None:
                advance(len(piece))
    if sha256 is not None and digest.hexdigest() != sha256:
        raise damaged(where, sha256, digest.hexdigest())
    return found


def _fill(file: BinaryIO, piece: memoryview) -> int:
    assert isinstance(file, io.RawIOBase | io.BufferedIOBase)
    done = 0
    while done < len(piece):
        count = file.readinto(piece[done:])
        if not count:
            break
        done += count
    return done


def damaged(where: str, expected: str, got: str) -> RecipeError:
    """The error for a file whose digest isn't what it must be."""
    return RecipeError(
        f"{where}: some of its bytes are not those that were saved.",
        f"expected sha256 {expected}",
        f"got sha256      {got}",
        expected=expected,
        got=got,
        way_out="get the file again from where it came, or save again",
    )
