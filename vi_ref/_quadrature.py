"""Integrals over u = log theta of a density with one mode, by the trapezoid rule.

For an analytic integrand that vanishes at both ends the rule's error falls faster than any power of the step, and
about squares, at least, when the step is halved (Trefethen & Weideman 2014). So two grids that agree to 1e-8 leave the
finer one with nothing but rounding.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

#: Nats below the highest value met at which a density is cut off: e^-60 = 1e-26.
DROP = 60.0
#: Halving the step goes on until log integral, mean and mean square of theta change by less, relative for the last two.
AGREE = 1e-8
MOST_NODES = 2**21


class Grid(NamedTuple):
    """Nodes u, their probabilities, and the log of what the density integrated to before it was normalised."""

    u: Array
    weight: Array
    log_integral: float

    def mean_variance(self, values: Array) -> tuple[float, float]:
        """Mean and variance of a function of u, given by its values at the nodes."""
        mean = self.weight @ values
        return mean, self.weight @ (values - mean) ** 2


def integrate(log_density: Callable[[Array], Array], start: float) -> Grid:
    """A grid fine and long enough for the integral of e^log_density and the first two moments of theta = e^u.

    Parameters
    ----------
    log_density : callable
        Maps nodes u, (N,), to values, (N,); has one mode, and so has log_density + 2u.
    start : float
        Where to look for the ends: anywhere, best near the mode.

    Raises
    ------
    ArithmeticError
        If 2^21 steps are too few: a peak a millionth as wide as the tails.
    """
    with np.errstate(over="ignore"):
        left = _end(log_density, start, -0.01)
        right = _end(lambda u: log_density(u) + 2 * u, start, 0.01)    # of theta^2 p, beyond that of p
        last, n = np.full(3, np.nan), 64
        while n <= MOST_NODES:
            u, h = np.linspace(left, right, n + 1, retstep=True)
            value = log_density(u)
            top = value.max()
            density = np.exp(value - top)
            total = density.sum()
            grid = Grid(u, density / total, top + np.log(h * total))
            now = np.array([grid.log_integral, *np.log([grid.weight @ np.exp(u), grid.weight @ np.exp(2 * u)])])
            if np.all(np.abs(now - last) < AGREE):
                return grid
            last, n = now, 2 * n
    raise ArithmeticError(f"no two of the grids up to {MOST_NODES} steps on [{left:.6g}, {right:.6g}] agree")


def _end(log_density: Callable[[Array], Array], start: float, step: float) -> float:
    """The first point, in steps that double, that lies DROP below the highest value met."""
    u, value = start, log_density(np.array([start]))[0]
    top = value
    while value > top - DROP:
        u, step = u + step, 2 * step
        value = log_density(np.array([u]))[0]
        top = max(top, value)
    return u
