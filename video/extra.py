"""Packages that only videos need (requirements-video.txt): imported where they are used, so that all else runs without them."""

import importlib
from types import ModuleType


def needed(name: str) -> ModuleType:
    """The package. Raises ValueError that says how to install it where it is not there."""
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"{name} is not installed; pip install -r requirements-video.txt") from error
