"""Packages that videos need and nothing else does: imported where they are used, so that the core runs without them."""

import importlib
from types import ModuleType


def needed(name: str) -> ModuleType:
    """Import a package of requirements-video.txt. Raises ValueError that says how to install it."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed; pip install -r requirements-video.txt") from error
