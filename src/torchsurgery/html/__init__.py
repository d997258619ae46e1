"""Reports as a page of one file. Reads finished objects and decides nothing.

Files:
    page.py          the whole document; page.css is its style
    cards.py         totals before and after, edits, checks
    tree.py          the modules, foldable, with bars
    diagrams.py      which layers hang together, as drawings
    charts.py        time and difference of each layer; bars.py for both it and the tree
    notebooks.py     what Jupyter shows of plans and surgeries
    saving.py        onto the disk, whole or not at all

Nothing is fetched, nothing is run: there is no script, and the page's own policy forbids both.
"""

from .notebooks import edits_shown as edits_shown
from .page import render as render
from .saving import save as save
