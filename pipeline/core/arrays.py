"""Arrays from outside: checks of their numbers, labels and rows, and rows of length 1."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def number_problem(array: NDArray[Any]) -> str:
    """Return why an array is not made of finite numbers, such as "has ..."; empty if it is."""
    if array.dtype.kind not in "fiub":
        return f"has values of type {array.dtype}, which must be numbers"
    if array.dtype.kind == "f" and not (finite := np.isfinite(array)).all():
        count = f"{int((~finite).sum()):,} of {array.size:,}"
        return f"has values that are not finite ({count}, such as {array[~finite][0]})"
    return ""


def label_problem(array: NDArray[Any]) -> str:
    """Return why an array is not made of labels 0 and 1, such as "has ..."; empty if it is."""
    if problem := number_problem(array):
        return problem
    other = (array != 0) & (array != 1)
    if other.any():
        return f"has labels other than 0 and 1, such as {array[other][0]}"
    return ""


def share_problem(array: NDArray[Any]) -> str:
    """Return why an array is not made of soft labels in [0, 1]; empty if it is."""
    if problem := number_problem(array):
        return problem
    other = (array < 0) | (array > 1)
    return f"has values outside 0 to 1, such as {array[other][0]}" if other.any() else ""


def equal_rows(array: NDArray[Any]) -> tuple[int, int] | None:
    """Return the indices of the first two equal rows of an array ``[C, D]``, or None."""
    first: dict[bytes, int] = {}
    for index, row in enumerate(array):
        if (other := first.setdefault(row.tobytes(), index)) != index:
            return other, index
    return None


def unit_rows(array: NDArray[Any]) -> NDArray[np.float32]:
    """Return the rows ``[..., D]`` of finite numbers scaled to length 1; those of zeros stay."""
    with np.errstate(over="ignore"):
        lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    nonzero = array.any(axis=-1, keepdims=True)
    if not np.isfinite(lengths).all() or (nonzero & (lengths == 0)).any():
        array = array.astype(np.float64)  # for squares beyond float32
        lengths = np.linalg.norm(array, axis=-1, keepdims=True)
    unit: NDArray[np.float32] = (array / np.where(nonzero, lengths, 1)).astype(np.float32)
    return unit
