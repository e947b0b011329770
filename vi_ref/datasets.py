"""The digit images of the running example, the drawn picture of a zero, and a small table of counts."""

from importlib import resources

import numpy as np
from numpy.typing import NDArray

from vi_ref import _validate
from vi_ref.gamma import Gamma

#: Height and width of a digit image.
IMAGE = (8, 8)


def digit(target: int = 0) -> NDArray[np.int64]:
    """Images of one handwritten digit from scikit-learn's ``load_digits``.

    Parameters
    ----------
    target : int
        Which digit, 0 to 9.

    Returns
    -------
    ndarray, shape (m, 64)
        Pixel intensities 0 ... 16 as counts; m = 178 for the digit 0.

    Raises
    ------
    ValueError
        If there is no such digit.
    """
    from sklearn.datasets import load_digits  # slow to import

    if _validate.whole("target", target, 0) > 9:
        raise ValueError(f"target must be a digit from 0 to 9, got {target}")
    images = load_digits()
    return images.data[images.target == target].astype(np.int64)


def ring(floor: float = 0.25) -> NDArray[np.float64]:
    """What an average zero looks like to someone who has seen none of the images.

    An upright ellipse about the middle of the image, half as wide as it is high, drawn with
    a soft pen of peak intensity 12 out of 16. The floor keeps every pixel possible: a prior
    built on a picture with zeros in it is improper there.

    Parameters
    ----------
    floor : float
        Smallest intensity, positive.

    Returns
    -------
    ndarray, shape (64,)
    """
    floor = _validate.between("floor", floor, 0, 16)
    row, column = np.indices(IMAGE) - np.reshape([3.5, 3.5], (2, 1, 1))
    distance = np.hypot(row / 3.2, column / 1.9) - 1        # from the stroke, in radii
    return np.maximum(12 * np.exp(-0.5 * (distance / 0.3) ** 2), floor).ravel()


def picture_prior(picture: NDArray[np.float64], weight: float = 2.0) -> Gamma:
    """The prior that counts a picture as `weight` examples, Gamma(weight x0, weight): book eq. `eq-picture-prior`.

    Parameters
    ----------
    picture : array_like, shape (D,)
        Expected counts x0, all positive.
    weight : float
        How many examples the picture is worth, positive.

    Raises
    ------
    ValueError
        If a pixel or the weight is not positive and finite: Gamma(0, b) is no distribution.
    """
    weight = float(_validate.positive("weight", weight))
    return Gamma(weight * _validate.positive("picture", picture), weight)


def horse_kicks() -> tuple[list[str], NDArray[np.int64]]:
    """Deaths by the kick of a horse in 14 corps of the Prussian army, 1875 to 1894.

    The table of von Bortkiewicz (1898), the textbooks' example of Poisson counts; read from ``horse_kicks.csv`` beside
    this module.

    Returns
    -------
    corps : list of str
        G (the guard), I ... XI, XIV, XV.
    counts : ndarray, shape (20, 14)
        A row a year.

    References
    ----------
    L. von Bortkiewicz (1898), Das Gesetz der kleinen Zahlen. Teubner, Leipzig.

    Examples
    --------
    >>> corps, counts = horse_kicks()
    >>> counts.sum(), dict(zip(*np.unique(counts, return_counts=True), strict=True))[0]
    (np.int64(196), np.int64(144))
    """
    header, *rows = (resources.files("vi_ref") / "horse_kicks.csv").read_text(encoding="ascii").split()
    return header.split(","), np.array([[int(field) for field in row.split(",")] for row in rows])
