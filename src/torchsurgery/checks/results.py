"""What a check answers: one line for each thing it looked at."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import VerificationError


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a few words: "forward runs".
        ok: False when it makes the whole check fail.
        detail: The particulars: shapes, counts, names.
        remark: Whether it is something to know rather than something that holds.
    """

    name: str
    ok: bool
    detail: str
    remark: bool = False

    def __str__(self) -> str:
        sign = "✗" if not self.ok else "!" if self.remark else "✓"
        return f"  {sign} {self.name:<24}{' ' * (len(self.name) > 23)}{self.detail}".rstrip()


@dataclass(frozen=True, slots=True)
class Checks:
    """All that `check` looked at, in order; prints as one line each."""

    lines: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether nothing failed."""
        return all(line.ok for line in self.lines)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What is worth knowing and no failure."""
        return tuple(f"{line.name}: {line.detail}" for line in self.lines if line.remark)

    def __str__(self) -> str:
        return "\n".join(map(str, self.lines))


@dataclass(frozen=True, slots=True)
class Finding:
    """A line, and what is raised for it when it is a failure."""

    check: Check
    error: VerificationError | None = None
    cause: BaseException | None = None


def holds(name: str, detail: str) -> Finding:
    """A line with ✓."""
    return Finding(Check(name, True, detail))


def remark(name: str, detail: str) -> Finding:
    """A line with !."""
    return Finding(Check(name, True, detail, remark=True))


def fails(name: str, error: VerificationError, cause: BaseException | None = None) -> Finding:
    """A line with ✗, which quotes the first line of its error."""
    return Finding(Check(name, False, str(error).splitlines()[0]), error, cause)


def listing(names: list[str], most: int = 3) -> str:
    """Some names, and how many more there are: "a, b, c, … 5 more"."""
    rest = [f"… {len(names) - most} more"] if len(names) > most else []
    return ", ".join(names[:most] + rest)
