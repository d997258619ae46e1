"""Work that takes a while, as it is shown: how far it has come, how fast, and how long it will still take."""

from __future__ import annotations

import math
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, TextIO

from ..progress import Advance

_BAR, _NARROW = 24, 100  # characters of a bar, and columns below which there is none
_EVERY = 5.0  # seconds between lines where nothing can be drawn over


@dataclass(eq=False)
class Work:
    """One piece of work under way.

    Attributes:
        what: What is done.
        total: How much there is of it, or None.
        unit: "B", "params", or "" for pieces.
        done: How much has been done.
        begun: When it began, in seconds of a monotonic clock.
    """

    what: str
    total: float | None
    unit: str
    done: float = 0.0
    begun: float = field(default_factory=time.monotonic)

    def words(self, now: float) -> str:
        """`2 s left · 3/8 · 2.1/s`; where the end isn't known, for how long already."""
        taken = now - self.begun
        if not self.done or not taken:
            return in_time(taken)
        rate = self.done / taken
        left = 0.0 if self.total is None else (self.total - self.done) / rate
        time = f"{in_time(left)} left" if left > 0 else in_time(taken)
        return f"{time} · {self._counted()} · {self._in_words(rate)}/s"

    def _counted(self) -> str:
        unit = "" if self.unit in ("", "B") else f" {self.unit}"
        known = self.total is not None and self.done <= self.total
        whole = f"{' of ' if self.unit else '/'}{self._in_words(self.total)}" if known and self.total else ""
        return f"{self._in_words(self.done)}{whole}{unit}"

    def _in_words(self, amount: float) -> str:
        from ..stats import in_bytes, short

        if self.unit == "B":
            return in_bytes(int(amount))
        return short(int(amount)) if amount >= 10 or amount == int(amount) else f"{amount:.1f}"


def in_time(seconds: float) -> str:
    """`12 s`, `3 min 20 s`, `2 h 5 min`."""
    minutes, rest = divmod(math.ceil(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


class Display:
    """What is under way, on a terminal with bars that are gone afterwards, else with a line every few seconds.

    Args:
        stream: Where it goes.
        drawn: Whether the stream is a terminal.
        delay: Seconds after which a piece of work is worth a line.
        every: Seconds between two lines in a pipe.
    """

    def __init__(self, stream: TextIO, drawn: bool, delay: float = 1.0, every: float = _EVERY) -> None:
        self.stream, self.drawn, self.delay, self.every = stream, drawn, delay, every
        self._under_way: list[Work] = []
        self._end: Callable[[], None] | None = None

    @contextmanager
    def work(self, what: str, total: float | None = None, unit: str = "") -> Iterator[Advance]:
        """A block of work; inside of others its line stands below theirs."""
        one = Work(what, total, unit)

        def advance(amount: float) -> None:
            one.done += amount

        self._under_way.append(one)
        try:
            if self._end is None:
                self._end = self._drawing() if self.drawn else self._writing()
            yield advance
        finally:
            self._under_way.remove(one)
            if not self._under_way and self._end is not None:
                end, self._end = self._end, None
                end()

    def _shown(self) -> list[Work]:
        now = time.monotonic()
        return [one for one in list(self._under_way) if now - one.begun >= self.delay]

    def _drawing(self) -> Callable[[], None]:
        from rich.console import Console
        from rich.live import Live

        live = Live(
            get_renderable=self._table, console=Console(file=self.stream), transient=True, refresh_per_second=10
        )
        # What is done at once needs no bar.
        timer = threading.Timer(self.delay, live.start)
        timer.daemon = True
        timer.start()

        def end() -> None:
            timer.cancel()
            timer.join()
            live.stop()

        return end

    def _table(self) -> Any:
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        table, now = Table.grid(padding=(0, 1)), time.monotonic()
        wide = shutil.get_terminal_size().columns >= _NARROW
        for one in self._shown():
            bar = [ProgressBar(one.total, one.done, width=_BAR, pulse=one.total is None)] if wide else []
            told = Text(one.words(now), style="dim", no_wrap=True, overflow="ellipsis")
            table.add_row(Text(one.what, no_wrap=True, overflow="ellipsis"), *bar, told)
        return table

    def _writing(self) -> Callable[[], None]:
        ended = threading.Event()

        def write() -> None:
            wait = self.delay
            while not ended.wait(wait):
                wait = self.every
                for one in self._shown()[-1:]:  # the innermost
                    self.stream.write(f"{one.what}: {one.words(time.monotonic())}\n")
                self.stream.flush()

        thread = threading.Thread(target=write, daemon=True)
        thread.start()

        def end() -> None:
            ended.set()
            thread.join()

        return end
