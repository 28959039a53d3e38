"""What a source is: a file, a camera of this machine or an address; and how it may be shown."""

import os
import re
import stat


def resolved(source: str) -> tuple[str, str | None]:
    """(what FFmpeg opens, its format where that must be said). Raises ValueError or OSError of a path that holds no video."""
    if "://" in source:
        return source, None
    path = source
    if re.fullmatch(r"\d+", source) and not os.path.exists(source):
        path = f"/dev/video{source}"
    try:
        found = os.stat(path)
    except FileNotFoundError:
        raise FileNotFoundError(f"{source}: no such {'file' if path == source else f'camera ({path})'}") from None
    if stat.S_ISCHR(found.st_mode):
        return path, "v4l2"
    if not stat.S_ISREG(found.st_mode):
        raise ValueError(f"{source}: not a file" + (" but a folder" if stat.S_ISDIR(found.st_mode) else ""))
    if not found.st_size:
        raise ValueError(f"{source}: an empty file")
    return os.path.abspath(path), None  # from /: of a name like 12:30.mp4 FFmpeg would take 12: for a protocol


def masked(address: str) -> str:
    """The address as it may be shown: `rtsp://user:secret@host/x?channel=1&t=abc` -> `rtsp://***@host/x?channel=1&t=***`."""
    if "://" not in address:
        return address
    named = r"(?i)([/;_?&,#-](?:[a-z]*(?:pass|pwd|pin|token|secret|auth|key|sig|user|login)[a-z]*)=)[^&#\s]*"
    # all values but small numbers, as of channels, and plain names of what says which camera it is
    plain = r"(?:src|camera|channel|stream|profile)=[\w.-]*(?:[&#\s]|$)"
    asked = rf"([?&](?!{plain})[^=&#\s]*=)(?!\d{{1,3}}(?:[&#\s]|$))[^&#\s]*"
    # a recorder's name:password between slashes, not the kind of a file or stream
    kind = r"(?:mp4|mp3|flv|smil|ngrp|amlst|urn):"
    pair = rf"(?<=[^/]/)(?:\d{{4,}}:\d{{4,}}|(?!{kind})[^/:?#]*[^/:?#\d][^/:?#]*:[^/?#@]+)(?=/|$)"
    bare = r"\?(?![^#\s]*=)[^#\s]+"  # a query that is no name and value
    shown = re.sub(bare, "?***", re.sub(asked, r"\1***", re.sub(named, r"\1***", re.sub(pair, "***", address))))
    return re.sub(r"(?s)^(\w[\w+.-]*://).*@", r"\1***@", shown)  # up to the last @: a password may hold any of /?#@
