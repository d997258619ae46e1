"""Reports as a page of one file, and tables for notebooks. Reads finished objects and decides nothing.

Files:
    markup.py        escaping, and numbers as they are written on a page
    page.py          the whole document; page.css is its style
    cards.py         totals before and after, edits, checks
    tree.py          the modules, foldable, with bars
    diagrams.py      which layers hang together, as drawings
    charts.py        time and difference of each layer
    saving.py        onto the disk, whole or not at all
    notebooks.py     what Jupyter shows; notebooks.css is its style

Nothing is fetched, nothing is run: there is no script, and the page's own policy forbids both.
"""

from .page import render as render
from .saving import save as save
