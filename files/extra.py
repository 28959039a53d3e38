"""Packages beyond requirements.txt: extras, imported where they are used, so that everything else runs without them."""

import importlib
from types import ModuleType


def needed(name: str, requirements: str) -> ModuleType:
    """Import a package that the file `requirements` lists. Raises ValueError with the remedy where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:  # the package is there; something of its own is not
            raise
        raise ValueError(f"{name} is not installed; pip install -r {requirements}") from None
