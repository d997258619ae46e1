"""What a layer is: its constructor's arguments, what it converts to, and how its weights carry; a file for each family.

Every file here is imported, so that its rules are registered: a new family is a new file and touches nothing else.
"""

from __future__ import annotations

import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
