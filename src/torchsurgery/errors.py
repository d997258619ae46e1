"""Everything that torchsurgery raises on purpose.

    SurgeryError
    ├── SelectionError       nothing, too much or the wrong thing was selected
    ├── PlanError            the edit can't be made, or not on this model; nothing has changed
    │   └── ConfigError      a layer can't be rebuilt, or can't be configured from the old one
    ├── SourceError          a model reference can't be turned into a model
    ├── TraceError           the model can't be followed on these inputs
    ├── CouplingError        channels that can't go or come
    ├── VerificationError    the altered model does not hold; a change under way has been rolled back
    └── RecipeError          a recipe or a saved surgery can't be trusted or doesn't fit

A message says in its first line what was refused, with the layer's full name; then what was expected and what was got;
last, a line of code that works.
"""

from __future__ import annotations

from typing import Any


class SurgeryError(Exception):
    """The base of every error of this library.

    Attributes:
        name: Fully-qualified name of the layer at fault, or None.
        expected: What would have been right, or None.
        got: What was there instead, or None.
        way_out: A line of code, or a sentence, that leads on; or None.
    """

    def __init__(
        self,
        message: str,
        *details: str,
        name: str | None = None,
        expected: Any = None,
        got: Any = None,
        way_out: str | None = None,
    ) -> None:
        self.name, self.expected, self.got, self.way_out = name, expected, got, way_out
        lines = [message, *details]
        if way_out:
            lines.append(way_out)
        super().__init__("\n  ".join(lines))


class SelectionError(SurgeryError):
    """What was asked for selects no layer, too many or too few, or is not a target at all."""


class PlanError(SurgeryError):
    """An edit can't be made on this model. Raised before anything is changed."""


class ConfigError(PlanError):
    """A layer's constructor call can't be recovered, or the new layer can't be configured from the old one."""


class SourceError(SurgeryError):
    """A model reference can't be turned into a model."""


class TraceError(SurgeryError):
    """The model can't be followed on the given inputs."""


class CouplingError(SurgeryError):
    """Channels that can't be removed or added."""


class VerificationError(SurgeryError):
    """The model does not hold what a check asks of it.

    Attributes:
        checks: All that `ts.check` looked at, as `Checks`; None when it couldn't begin.
    """

    checks: Any = None


class RecipeError(SurgeryError):
    """A recipe or a saved surgery can't be trusted, or doesn't fit the model."""
