"""What there is to show of a model before and after its edits, gathered by running both. Writes nothing.

Files:
    renaming.py      where a module lies after edits that lay others around it
    pairing.py       two tables of modules → one tree, with what was done to each module and why
    running.py       time and answers of each layer, before and after
    gathering.py     Report, gather()
"""

from .gathering import Report as Report
from .gathering import gather as gather
