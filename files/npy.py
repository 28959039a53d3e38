"""`.npy` files of plain arrays: never unpickled, and refused where header and size say that they are not whole."""

import math
import threading
import tokenize
from pathlib import Path
from typing import NamedTuple

import numpy as np

# numpy parses a header as Python, and Python 3.11 can fail there where two threads do ("recursion depth mismatch")
ONE_AT_A_TIME = threading.Lock()
# what numpy raises, from version to version, on headers that are none
NO_HEADER = (ValueError, TypeError, EOFError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError)


class Header(NamedTuple):
    """What a .npy file says of its array, and where the data begin."""

    shape: tuple[int, ...]
    dtype: np.dtype
    fortran: bool
    start: int


def read_header(path: Path, expected: str) -> Header:
    """The header of a .npy file, its size checked. Raises ValueError where it is not a whole array of plain values."""
    with open(path, "rb") as file:
        try:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            with ONE_AT_A_TIME:
                shape, fortran, dtype = read(file)
        except NO_HEADER as error:
            raise ValueError(f"{path}: expected {expected}, found no whole .npy header; copy or make the file again") from error
        start = file.tell()
        size = file.seek(0, 2) - start
    if not all(type(n) is int and n >= 0 for n in shape):
        raise ValueError(f"{path}: expected {expected}, found a header with the shape {shape}; copy or make the file again")
    if dtype.hasobject:
        raise ValueError(f"{path}: expected {expected}, found pickled objects, which are never loaded; save a plain array")
    needed = math.prod(shape) * dtype.itemsize
    if size != needed:
        raise ValueError(
            f"{path}: an array of {dtype} and shape {shape} takes {needed} bytes, found {size}: truncated or damaged; "
            "copy or make the file again"
        )
    return Header(shape, dtype, fortran, start)


def read_data(path: Path, header: Header) -> np.ndarray:
    """The array behind a header. Raises ValueError where it does not fit the memory."""
    try:
        flat = np.fromfile(path, header.dtype, math.prod(header.shape), offset=header.start)
    except MemoryError as error:
        raise ValueError(
            f"{path}: an array of shape {header.shape} does not fit the memory; is this the right file?"
        ) from error
    return flat.reshape(header.shape, order="F" if header.fortran else "C")
