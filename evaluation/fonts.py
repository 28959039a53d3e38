"""Fonts for names in any script: beside matplotlib's own those that this machine has; what none of them has is said."""

import re
import sys
import unicodedata
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

WIDE = (  # of many scripts, as Linux, macOS and Windows have them
    *("Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Unifont"),
    *("Noto Sans Arabic", "Noto Sans Hebrew", "Noto Sans Devanagari", "Noto Sans Bengali", "Noto Sans Tamil", "Noto Sans Thai"),
    *("Arial Unicode MS", "PingFang SC", "Hiragino Sans", "Apple SD Gothic Neo", "Geeza Pro", "Thonburi"),
    *("Microsoft YaHei", "Yu Gothic", "Malgun Gothic", "Segoe UI", "Nirmala UI", "Leelawadee UI"),
)
TOLD: set[str] = set()  # scripts that no font has


def families() -> list[str]:
    """matplotlib's families, as the user may have set them, and those of `WIDE` that are here."""
    from matplotlib import font_manager, rcParams

    here = set(font_manager.get_font_names())
    return [*rcParams["font.family"], *(name for name in WIDE if name in here)]


@contextmanager
def lacking_told(figure) -> Iterator[None]:
    """While a figure is written: say once of each script that no font has it, in the place of a warning for each character."""
    import matplotlib

    with warnings.catch_warnings(record=True, action="always") as caught:
        yield
    for one in caught:
        if not (glyph := re.match(r"Glyph (\d+) ", str(one.message))):
            warnings.warn_explicit(one.message, one.category, one.filename, one.lineno)
            continue
        letter = chr(int(glyph[1]))
        script = unicodedata.name(letter, "unnamed").split()[0]
        if script not in TOLD:
            TOLD.add(script)
            texts = [artist.get_text() for artist in figure.findobj(lambda artist: hasattr(artist, "get_text"))]
            name = next((text for text in texts if letter in text), letter)
            remedy = f"install one, such as Noto Sans CJK, and delete {matplotlib.get_cachedir()}/fontlist-*.json"
            print(f"warning: no font here has {script} characters, as in {name}: figures show boxes; {remedy}", file=sys.stderr)
