"""Change the structure of a trained PyTorch model, in place, and keep it working.

The public names are in `__init__.pyi`. Each is imported when it is first asked for, so that the command line can answer
without waiting for PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
