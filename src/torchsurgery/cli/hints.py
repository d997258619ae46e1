"""What an error says to do, in the words of the command line."""

from __future__ import annotations

from ..errors import SelectionError, SurgeryError, TraceError

_CLASSES = "name the classes of your own, whose code is then run:  --class NAME=pkg.mod:Class"


def in_words(error: SurgeryError, model: str) -> str:
    """An error's text; where its way out is a line of Python that a command does as well, with the command.

    Args:
        error: Any error of this library.
        model: What the command has named.
    """
    text, way_out = str(error), error.way_out or ""
    if isinstance(error, SelectionError) and "ts.select(" in way_out:
        return text.replace(way_out, f"see what is there with  torchsurgery inspect {model} --all")
    if "ts.register(" in way_out:
        return text.replace(way_out, _CLASSES)
    if isinstance(error, TraceError) and "model(*inputs)" in way_out:
        return text.replace(way_out, "give what it takes, once an argument:  --input 1,3,224,224")
    return text
