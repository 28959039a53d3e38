"""What video/ needs beyond requirements.txt: an extra, imported where it is used, so that everything else runs without it."""

import importlib
from types import ModuleType


def needed(name: str) -> ModuleType:
    """Import a package of requirements-video.txt. Raises ValueError with the remedy where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:  # the package is there; something of its own is not
            raise
        raise ValueError(f"{name} is not installed; pip install -r requirements-video.txt") from None
