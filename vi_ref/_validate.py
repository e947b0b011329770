"""One clear ``ValueError`` for each kind of bad input: the argument, what it must be, what it was."""

import operator

import numpy as np
from numpy.typing import ArrayLike, NDArray


def real(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """`value` as an array of floats, itself if it is one, or an error that says it is not numeric."""
    try:
        array = np.asarray(value)
        if array.dtype.kind not in "fiub" or np.ma.is_masked(value):
            raise TypeError
        return array.astype(np.float64, copy=False)
    except (TypeError, ValueError):
        raise ValueError(f"{name} must be an array of real numbers, got {_short(value)}") from None


def require(name: str, requirement: str, array: NDArray, holds: NDArray) -> None:
    """Raise unless `holds` is true throughout, naming the first entry where it is not."""
    if np.all(holds):
        return
    index = tuple(int(i) for i in np.argwhere(~np.asarray(holds))[0])
    place = f" at index {index[0] if len(index) == 1 else index}" if index else ""
    raise ValueError(f"{name} must be {requirement}, got {array[index]}{place}")


def positive(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """`value` as positive finite floats."""
    array = real(name, value)
    require(name, "positive and finite", array, np.isfinite(array) & (array > 0))
    return array


def counts(name: str, value: ArrayLike) -> NDArray[np.float64]:
    """`value` as non-negative whole numbers, held as floats."""
    array = real(name, value)
    whole = np.isfinite(array) & (array >= 0) & (array == np.floor(array))
    require(name, "non-negative whole numbers", array, whole)
    require(name, "at most 2^53, beyond which floats skip whole numbers", array, array <= 2.0**53)
    return array


def whole(name: str, value: int, least: int) -> int:
    """`value` as an int of at least `least`."""
    try:
        number = operator.index(value)
    except TypeError:
        number = least - 1
    if number < least or isinstance(value, bool):
        raise ValueError(f"{name} must be a whole number of at least {least}, got {_short(value)}")
    return number


def between(name: str, value: float, low: float, high: float, ends: str = "()") -> float:
    """`value` as a float inside an interval; `ends` says which of its ends belong to it."""
    try:
        number = np.nan if isinstance(value, str) else float(value)
    except (TypeError, ValueError):
        number = np.nan
    above = number >= low if ends[0] == "[" else number > low
    below = number <= high if ends[1] == "]" else number < high
    if not (above and below):
        raise ValueError(f"{name} must be in {ends[0]}{low:g}, {high:g}{ends[1]}, got {_short(value)}")
    return number


def one_of(name: str, value: str, choices: tuple[str, ...]) -> str:
    """`value` if it is among `choices`, or an error that lists them."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {_short(value)}")
    return value


def generator(name: str, value: np.random.Generator) -> np.random.Generator:
    """`value` if it is a NumPy random generator."""
    if not isinstance(value, np.random.Generator):
        raise ValueError(f"{name} must be a numpy.random.Generator, got {_short(value)}")
    return value


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
