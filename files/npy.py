"""`.npy` files of plain arrays: mapped, never unpickled, and refused where header and size say that they are not whole."""

import threading
import tokenize
import zipfile
import zlib
from pathlib import Path

import numpy as np

# numpy parses a header as Python, and Python 3.11 can fail there where two threads do ("recursion depth mismatch")
ONE_AT_A_TIME = threading.Lock()
# what numpy raises, from version to version, on headers that are none
NOT_NPY = (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError, OverflowError, tokenize.TokenError)
NOT_NPZ = (*NOT_NPY, zipfile.BadZipFile, zlib.error, KeyError, AttributeError, NotImplementedError, RuntimeError, OSError)


def open_array(path: Path, expected: str) -> np.memmap:
    """The array of a .npy file, not yet read. Raises ValueError that says what is expected where it is no whole, plain one."""
    with open(path, "rb") as file:
        if file.read(4) == b"PK\3\4":
            raise ValueError(
                f"{path}: expected {expected} in a .npy file, found a zip archive, as .npz and .pt files are; "
                "list/split_crops.py turns a folder of them into ours"
            )
    try:
        with ONE_AT_A_TIME:
            array = np.load(path, mmap_mode="r", allow_pickle=False)
    except NOT_NPY as error:
        problem = "no whole .npy header; copy or make the file again"
        if "Python objects" in str(error):
            problem = "pickled objects, which are never loaded; save a plain array"
        elif "mmap" in str(error):
            problem = "fewer values than its header says: truncated or damaged; copy or make the file again"
        raise ValueError(f"{path}: expected {expected}, found {problem}") from error
    size = path.stat().st_size - array.offset
    if size != array.nbytes:
        raise ValueError(
            f"{path}: an array of {array.dtype} and shape {array.shape} takes {array.nbytes} bytes, found {size}: damaged; "
            "copy or make the file again"
        )
    return array
