"""What video/ needs beyond requirements.txt."""

from types import ModuleType

from files import extra


def needed(name: str) -> ModuleType:
    """Import a package of requirements-video.txt. Raises ValueError with the remedy where it is not installed."""
    return extra.needed(name, "requirements-video.txt")
