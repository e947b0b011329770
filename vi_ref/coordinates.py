"""The coordinates in which a fit moves, and the natural gradient, which is one direction in all of them."""

import numpy as np
from numpy.typing import NDArray

from vi_ref.gamma import Gamma
from vi_ref.special import trigamma_minus_reciprocal_ufunc

Array = NDArray[np.float64]


class Rate:
    """Coordinates (log shape, log rate)."""

    @staticmethod
    def of(q: Gamma) -> Array:
        """Coordinates of q, shape (2, D)."""
        return np.stack([np.log(q.shape), np.log(q.rate)])

    @staticmethod
    def q(u: Array) -> Gamma:
        """The Gamma at coordinates u."""
        return Gamma(np.exp(u[0]), np.exp(u[1]))

    @staticmethod
    def gradient(log_shape: Array, log_rate: Array) -> Array:
        """A gradient in (log shape, log rate), mapped to these coordinates."""
        return np.stack([log_shape, log_rate])

    move = gradient      #: A move of (log shape, log rate), seen in these coordinates.


class Mean:
    """Coordinates (log shape, log mean), in which the Fisher information is diagonal.

    Book eq. `eq-mean-coordinates`: log rate = log shape - log mean, so d/d log shape at fixed mean is the sum
    of the two derivatives, and d/d log mean is minus the second.
    """

    @staticmethod
    def of(q: Gamma) -> Array:
        """Coordinates of q, shape (2, D)."""
        return np.stack([np.log(q.shape), np.log(q.mean)])

    @staticmethod
    def q(u: Array) -> Gamma:
        """The Gamma at coordinates u."""
        return Gamma(np.exp(u[0]), np.exp(u[0] - u[1]))

    @staticmethod
    def gradient(log_shape: Array, log_rate: Array) -> Array:
        """A gradient in (log shape, log rate), mapped to these coordinates."""
        return np.stack([log_shape + log_rate, -log_rate])

    @staticmethod
    def move(log_shape: Array, log_rate: Array) -> Array:
        """A move of (log shape, log rate), seen in these coordinates."""
        return np.stack([log_shape, log_shape - log_rate])


COORDINATES = {"rate": Rate, "mean": Mean}


def fisher(shape: Array) -> Array:
    """The diagonal Fisher information in (log shape, log mean), (2, D): shape^2 (psi'(shape) - 1/shape), and shape."""
    return np.stack([shape**2 * trigamma_minus_reciprocal_ufunc(shape), shape])


def natural(q: Gamma, log_shape: Array, log_rate: Array) -> tuple[Array, Array]:
    """The natural gradient F^-1 g in (log shape, log rate) of a gradient g in them, estimated or exact.

    F = [[shape^2 psi', -shape], [-shape, shape]] is the Fisher information, book eq. `eq-fisher`, there in (shape,
    rate). Its determinant is shape^3 (psi' - 1/shape), whose bracket is formed without cancellation.

    Examples
    --------
    The exact gradient's leads to the posterior, book eq. `eq-natural-gradient`: (A - shape) / shape, (B - rate) / rate.

    >>> from vi_ref import PoissonGamma, exact_elbo
    >>> model = PoissonGamma(Gamma(2.0, 1.0), [[3, 0], [5, 1]])
    >>> natural(model.prior, *exact_elbo.gradient(model, model.prior))
    (array([4. , 0.5]), array([2., 2.]))
    """
    to_shape = (log_shape + log_rate) / fisher(q.shape)[0]
    return to_shape, to_shape + log_rate / q.shape
