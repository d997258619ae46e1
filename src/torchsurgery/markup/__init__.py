"""Text for browsers: escaping, style sheets, and tables for notebooks. Knows nothing of models.

escaping     all text from outside goes through it · tables  what Jupyter shows, with a style of its own
"""

from .escaping import code as code
from .escaping import escape as escape
from .escaping import name as name
from .escaping import spaced as spaced
from .escaping import style as style
from .tables import Table as Table
from .tables import folded as folded
from .tables import shown as shown
