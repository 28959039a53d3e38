"""Packages that only a part needs: extras, imported where they are used, so that everything else runs without them."""

import importlib
from types import ModuleType


def needed(name: str, extra: str = "video") -> ModuleType:
    """Import a package of requirements-<extra>.txt. Raises ValueError with the remedy where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name.split(".")[0] != name.split(".")[0]:  # the package is there; something of its own is not
            raise
        raise ValueError(f"{name.split('.')[0]} is not installed; pip install -r requirements-{extra}.txt") from None
