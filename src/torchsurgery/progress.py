"""How far work has come, for whoever wants to be told; where nobody listens it costs nothing.

for layer in each(layers, "scoring"): ...
with work("saving", total=size, unit="B") as advance: advance(len(piece))
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TypeAlias, TypeVar

T = TypeVar("T")

# Takes by how much the work has advanced.
Advance: TypeAlias = Callable[[float], None]
# Is given what is done, how much there is of it or None, and in which unit; enters while it is done.
Listener: TypeAlias = Callable[[str, "float | None", str], AbstractContextManager[Advance]]

_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


@contextmanager
def told_to(listener: Listener) -> Iterator[None]:
    """A block whose work is told to `listener`."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


def is_told() -> bool:
    """Whether somebody listens."""
    return _LISTENER.get() is not None


def work(what: str, total: float | None = None, unit: str = "") -> AbstractContextManager[Advance]:
    """A block of work that advances.

    Args:
        what: What is done, as "saving slim".
        total: How much there is to do; None where that isn't known.
        unit: "B" for bytes, "params" for parameters, "" for pieces.
    """
    listener = _LISTENER.get()
    return nullcontext(unheard) if listener is None else listener(what, total, unit)


def each(items: Collection[T], what: str) -> Iterable[T]:
    """Items one by one, each of which is a piece of work."""
    return items if _LISTENER.get() is None else _told(items, what)


def _told(items: Collection[T], what: str) -> Iterator[T]:
    with work(what, len(items)) as advance:
        for item in items:
            yield item
            advance(1)


def unheard(amount: float) -> None:
    """Where nobody listens."""
