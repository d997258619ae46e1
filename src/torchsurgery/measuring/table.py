"""The table of a model's modules."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .. import markup, text
from ..stats import Cost, Row


@dataclass(frozen=True, repr=False)
class Stats:
    """What a model consists of and what it computes, module by module; prints as a tree.

    Attributes:
        rows: One for each module, in the order of `named_modules()`; the model itself is the first.
        inputs: (shape, dtype) of the tensors that it was run on; empty where it wasn't.
        device: Where its parameters are.
    """

    rows: tuple[Row, ...]
    inputs: tuple[tuple[tuple[int, ...], str], ...] = ()
    device: str = "cpu"

    @property
    def total(self) -> Cost:
        """Of the whole model: the sum of what each row has of its own."""
        return self.rows[0].total

    @property
    def params(self) -> int:
        """Entries of all Parameters, each counted once."""
        return self.total.params

    @property
    def macs(self) -> int:
        """Multiply-adds of one forward: what `torch.utils.flop_counter` counts, halved."""
        return self.total.macs

    @property
    def bytes(self) -> int:
        """Bytes of all Parameters and buffers, each counted once."""
        return self.total.bytes

    @property
    def output(self) -> tuple[tuple[int, ...], ...]:
        """The shapes of the tensors that the model answers."""
        return self.rows[0].output

    @property
    def leaves(self) -> tuple[Row, ...]:
        """The rows of modules that hold no other."""
        holding = {row.name.rpartition(".")[0] for row in self.rows if row.name}
        return tuple(row for row in self.rows if row.name not in holding)

    def __str__(self) -> str:
        return text.tree(self.rows, self.inputs, self.device)

    def _repr_html_(self) -> str:
        top = [row for row in self.rows if row.depth < 2]
        every = (
            []
            if len(top) == len(self.rows)
            else [markup.folded(f"all {len(self.rows):,} modules", self._table(self.rows))]
        )
        told = markup.escape(text.input_line(self.inputs, self.device))
        return markup.shown(repr(self), f"<p>{told}</p>", self._table(top), *every)

    def _table(self, rows: Sequence[Row]) -> str:
        cells = [text.row_cells(row, self.total, bool(self.inputs)) for row in rows]
        return markup.Table(text.HEAD, cells, codes={0}, numbers={3, 4, 5}, seen=len(rows)).html()

    def __repr__(self) -> str:
        return text.totals_line(self.rows)

    def __getitem__(self, name: str) -> Row:
        """The row of the module of that name.

        Raises:
            KeyError: if there is none.
        """
        for row in self.rows:
            if name in row.names:
                return row
        raise KeyError(name)
