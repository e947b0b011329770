"""Randomised probability integral transforms: is each held-out count where its column's prediction puts it?"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref import _validate
from vi_ref.diagnostics._tails import nbinom_tails, score_of
from vi_ref.diagnostics.multiple import benjamini_hochberg
from vi_ref.diagnostics.scores import ScoreTests, score_tests
from vi_ref.gamma import Gamma

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Pit:
    """Randomised PIT values of held-out counts and the tests of each column."""

    values: Array                    #: (m, D) independent and uniform on [0, 1] if the model is right
    scores: Array                    #: (m, D) their normal scores
    tests: ScoreTests                #: of each column's scores: variance below 1, counts vary less than predicted
    adjusted: Array                  #: (D,) p-values of the variance, adjusted by Benjamini and Hochberg over columns
    adjusted_mean: Array             #: (D,) the same of the mean
    constant: NDArray[np.bool_]      #: (D,) whether a column's counts are all equal

    def under_dispersed(self, level: float = 0.05) -> NDArray[np.bool_]:
        """Columns that vary less than predicted; of these and the next, at most a share `level` expected false."""
        return (self.adjusted < level) & (self.tests.variance_z < 0)

    def over_dispersed(self, level: float = 0.05) -> NDArray[np.bool_]:
        """Columns that vary more than predicted."""
        return (self.adjusted < level) & (self.tests.variance_z > 0)


def pit(q: Gamma, counts: ArrayLike, rng: np.random.Generator) -> Pit:
    """u = F(x - 1) + v (F(x) - F(x - 1)) for each held-out count x, v uniform: book eq. `eq-randomised-pit`.

    F is the predictive distribution of the count given q **and the held-out rows above it**: negative binomial with q
    updated to Gamma(alpha + sum x, beta + rows), as in Dawid (1984). If theta is a draw of q and the counts are
    Poisson, all u are then independent and uniform, and the tests exact. With q as it is for all rows they would be
    uniform but not independent: the rows of a column share its theta, so that the scores' mean would have about the
    variance 1/m + 1/(beta + 1) in place of 1/m, and their variance about it the factor beta/(beta + 1).

    Parameters
    ----------
    q : Gamma, shape (D,)
        The posterior given other rows, or its approximation.
    counts : array_like, shape (m, D)
        Held-out rows, at least 2; non-negative whole numbers.
    rng : numpy.random.Generator
        Of the v: where counts are small, u and the tests hold noise, and change with the seed.

    Returns
    -------
    Pit
        A column predicted to be nearly always 0, and found so, has nearly u = v: its tests are as valid as any other's
        and say nothing. They reject by chance alone, as often as their level says: one of the digit's 16 blank pixels
        is marked in a quarter of seeds. It is kept among the columns over which p-values are adjusted, since leaving
        out columns for what their held-out counts are would invalidate the adjustment; it is marked as `constant`.

    Raises
    ------
    ValueError
        If the counts are not such a table, or q does not match.

    Examples
    --------
    >>> rng = np.random.default_rng(2)
    >>> q = Gamma([900.0, 900.0, 900.0], 100.0)
    >>> counts = np.stack([rng.poisson(9.0, 80), rng.binomial(18, 0.5, 80), rng.geometric(0.1, 80)], axis=1)
    >>> result = pit(q, counts, rng)
    >>> result.under_dispersed(), result.over_dispersed()
    (array([False,  True, False]), array([False, False,  True]))
    """
    table, rng = held_out(q, counts, 2), _validate.generator("rng", rng)
    seen = np.cumsum(table, axis=0) - table
    updated = Gamma(q.shape + seen, q.rate + np.arange(len(table))[:, None])
    lower, upper = nbinom_tails(updated, table, 1 - rng.random(table.shape))
    scores = score_of(lower, upper)
    tests = score_tests(scores)
    adjusted, adjusted_mean = (benjamini_hochberg(p) for p in (tests.p_variance, tests.p_mean))
    return Pit(np.exp(lower), scores, tests, adjusted, adjusted_mean, np.all(table == table[0], axis=0))


def held_out(q: Gamma, counts: ArrayLike, least: int) -> Array:
    """`counts` as a table with the columns of q and at least so many rows, or an error that says it is not."""
    table = _validate.counts("counts", counts)
    if not isinstance(q, Gamma) or q.shape.ndim != 1:
        raise ValueError(f"q must be a vi_ref.Gamma of shape (D,), got {q!r:.60}")
    if table.ndim != 2 or len(table) < least or table.shape[1:] != q.shape.shape:
        raise ValueError(f"counts must have at least {least} rows and q's {q.shape.size} columns, got {table.shape}")
    return table
