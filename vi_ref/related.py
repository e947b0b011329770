"""Pathwise gradients of the distributions that are made of gamma draws.

With independent z_i ~ Gamma(shape_i, 1) each of them is a sum in log space,

==============  ===============================================  ===================
Beta            log x - log(1 - x) = log z_1 - log z_2           shapes a, b
Dirichlet       log x_i = log z_i - log sum_j z_j                concentration
inverse gamma   log x = log scale - log z                        shape
chi-square      log x = log 2 + log z                            df/2
Student t       log t^2 = log df + log z_1 - log z_2             shapes 1/2, df/2
==============  ===============================================  ===================

so that one derivative, d log z / dshape at fixed noise (`vi_ref.gamma_grad`), gives all of
theirs. A function f of the draw then has dE[f]/dp = E[(df/dlog x) (dlog x/dp)] for every
parameter p; for a slope in x instead of log x, dx = x dlog x.

The path is not unique. Beta and Student t also have the implicit gradient -(dF/dp) / f of their
own CDF F, which is the mean of the one here given the draw: both are unbiased, and this one
varies more, by the noise that the draw does not show. It needs no derivative of an incomplete
beta function.

Parameters lie in [1e-100, 1e100], so that no derivative overflows, and broadcast; nothing has a
unit, except that inverse gamma draws have their scale's. Draws have shape (n_samples, ...).
Derivatives are those at the logarithms drawn: 4e-15 off, relative, as d log z / dshape is, and
where x or 1 - x is a factor also 2 eps of 1 + abs(log z_1 - log z_2). Student's is the difference
of two terms and has their error: they cancel for large df. ``tests/test_related.py`` holds
these bounds against mpmath.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref._validate import real, require
from vi_ref.gamma import sample_log_standard
from vi_ref.gamma_grad import dlogz_dshape

Array = NDArray[np.float64]


class BetaPaths(NamedTuple):
    """Draws of x ~ Beta(a, b) and their derivatives at fixed noise, (S, ...) each."""

    log_x: Array
    log_1mx: Array               # log(1 - x)
    dlogx_da: Array
    dlogx_db: Array
    dlog1mx_da: Array
    dlog1mx_db: Array


def beta(a: ArrayLike, b: ArrayLike, n_samples: int, rng: np.random.Generator) -> BetaPaths:
    """Draws of Beta(a, b), with density x^(a-1) (1-x)^(b-1) / B(a, b), and their paths.

    Book eq. `eq-beta-path`: the difference log x - log(1 - x) = log z_1 - log z_2 moves as the two gamma
    draws do (Figurnov, Mohamed & Mnih 2018, eq. 5); dlog x is 1 - x times, dlog(1 - x) is -x times its
    change.

    Parameters
    ----------
    a, b : array_like
        In [1e-100, 1e100], broadcast against each other.
    n_samples : int, at least 1
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a parameter is outside its domain, or the two do not broadcast.

    Examples
    --------
    dE[x]/da = b / (a + b)^2, here 0.12, and dE[log(1 - x)]/db = psi'(b) - psi'(a + b) = 0.174:

    >>> paths = beta(2.0, 3.0, 100_000, np.random.default_rng(0))
    >>> np.mean(np.exp(paths.log_x) * paths.dlogx_da).round(2), np.mean(paths.dlog1mx_db).round(2)
    (np.float64(0.12), np.float64(0.17))
    """
    a, b = _parameters(a=a, b=b)
    log_z1, log_z2 = sample_log_standard(a, n_samples, rng), sample_log_standard(b, n_samples, rng)
    log_x, log_1mx = -np.logaddexp(0, log_z2 - log_z1), -np.logaddexp(0, log_z1 - log_z2)
    dlogz1, dlogz2 = dlogz_dshape(a, log_z1), dlogz_dshape(b, log_z2)
    x, one_minus_x = np.exp(log_x), np.exp(log_1mx)
    return BetaPaths(log_x, log_1mx, one_minus_x * dlogz1, -one_minus_x * dlogz2, -x * dlogz1, x * dlogz2)


class DirichletPaths(NamedTuple):
    """Draws of log x on the simplex and dlog z_j / dconcentration_j at fixed noise, (S, ..., K) each."""

    log_x: Array
    dlogz: Array

    def gradient(self, slope: ArrayLike) -> Array:
        """dL/dconcentration_j draw by draw, from slope_i = dL/dlog x_i: dlogz_j (slope_j - x_j sum_i slope_i).

        Book eq. `eq-dirichlet-gradient`. That is the slope through the Jacobian dlog x_i / dconcentration_j =
        dlogz_j (delta_ij - x_j). The brackets sum to zero over j, as scaling every z moves no x; the largest
        component takes what the others leave, since its own bracket cancels near a vertex.

        Parameters
        ----------
        slope : array_like, shape (S, ..., K)
            Finite; broadcast to the shape of the draws.

        Returns
        -------
        ndarray, shape (S, ..., K)
            To be averaged over the draws.

        Raises
        ------
        ValueError
            If a slope is not finite, or the shape does not fit.

        Examples
        --------
        The log likelihood of category 0 given x is log x_0, E[log x_0] = psi(c_0) - psi(sum c):

        >>> paths = dirichlet([1.0, 2.0], 100_000, np.random.default_rng(0))
        >>> paths.gradient([1.0, 0.0]).mean(axis=0).round(2)      # psi'(1) - psi'(3) = 1.25, -psi'(3) = -0.395
        array([ 1.25, -0.39])
        """
        slope = real("slope", slope)
        require("slope", "finite", slope, np.isfinite(slope))
        try:
            slope = np.broadcast_to(slope, self.log_x.shape)
        except ValueError:
            raise ValueError(f"slope must broadcast to {self.log_x.shape}, got {slope.shape}") from None
        largest = np.argmax(self.log_x, axis=-1, keepdims=True)
        bracket = slope - np.exp(self.log_x) * slope.sum(axis=-1, keepdims=True)       # dL/dlog z_j
        np.put_along_axis(bracket, largest, 0.0, axis=-1)
        np.put_along_axis(bracket, largest, -bracket.sum(axis=-1, keepdims=True), axis=-1)
        return self.dlogz * bracket


def dirichlet(concentration: ArrayLike, n_samples: int, rng: np.random.Generator) -> DirichletPaths:
    """Draws of Dirichlet(concentration), with density proportional to prod x_j^(concentration_j - 1), and their paths.

    Book eq. `eq-dirichlet-path`. The paths are the gamma draws' (Figurnov, Mohamed & Mnih 2018, eq. 5)
    and `DirichletPaths.gradient` puts them together. Every log x is finite: near a vertex the small
    components keep their order and spread, and the largest its distance from 1, as -log1p of the others over
    it.

    Parameters
    ----------
    concentration : array_like, shape (..., K)
        In [1e-100, 1e100]; the K >= 2 components on the last axis.
    n_samples : int, at least 1
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a concentration is outside its domain, or there are fewer than two components.

    Examples
    --------
    In double precision nine draws in ten lie at a vertex; in log space none does:

    >>> log_x = dirichlet([1e-3, 1e-3, 1e-3], 10_000, np.random.default_rng(0)).log_x
    >>> (np.exp(log_x).max(axis=-1) == 1).mean().round(1), np.isfinite(log_x).all()
    (np.float64(0.9), np.True_)
    """
    (concentration,) = _parameters(concentration=concentration)
    if concentration.ndim == 0 or concentration.shape[-1] < 2:
        raise ValueError(f"concentration must have at least 2 components on its last axis, got {concentration.shape}")
    log_z = sample_log_standard(concentration, n_samples, rng)
    largest = np.argmax(log_z, axis=-1, keepdims=True)
    log_ratio = log_z - np.take_along_axis(log_z, largest, axis=-1)                    # log(x_j / x_largest)
    others = np.exp(log_ratio)
    np.put_along_axis(others, largest, 0.0, axis=-1)
    log_x = log_ratio - np.log1p(others.sum(axis=-1, keepdims=True))
    return DirichletPaths(log_x, dlogz_dshape(concentration, log_z))


class InverseGammaPaths(NamedTuple):
    """Draws of log x ~ inverse gamma(shape, scale) and their derivatives at fixed noise, (S, ...) each."""

    log_x: Array
    dlogx_dshape: Array
    dlogx_dscale: Array


def inverse_gamma(shape: ArrayLike, scale: ArrayLike, n_samples: int, rng: np.random.Generator) -> InverseGammaPaths:
    """Draws of scale / z, with density scale^shape x^(-shape-1) e^(-scale/x) / Gamma(shape), and their paths.

    The gamma draw's path (Figurnov, Mohamed & Mnih 2018, eq. 5) with its sign changed: book eq.
    `eq-inverse-gamma-path`.

    Parameters
    ----------
    shape, scale : array_like
        In [1e-100, 1e100], broadcast against each other; 1/x ~ Gamma(shape, rate=scale).
    n_samples : int, at least 1
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a parameter is outside its domain, or the two do not broadcast.

    Examples
    --------
    dE[log x]/dshape = -psi'(shape), here -0.394934, and dE[log x]/dscale = 1/scale:

    >>> paths = inverse_gamma(3.0, 4.0, 100_000, np.random.default_rng(0))
    >>> paths.dlogx_dshape.mean().round(2), paths.dlogx_dscale.mean()
    (np.float64(-0.39), np.float64(0.25))
    """
    shape, scale = _parameters(shape=shape, scale=scale)
    log_z = sample_log_standard(shape, n_samples, rng)
    return InverseGammaPaths(np.log(scale) - log_z, -dlogz_dshape(shape, log_z),
                             np.broadcast_to(1 / scale, log_z.shape))


class ChiSquarePaths(NamedTuple):
    """Draws of log x ~ chi-square(df) and their derivative at fixed noise, (S, ...) each."""

    log_x: Array
    dlogx_ddf: Array


def chi_square(df: ArrayLike, n_samples: int, rng: np.random.Generator) -> ChiSquarePaths:
    """Draws of chi-square with df degrees of freedom, 2 Gamma(df/2, 1), and their paths.

    Half the gamma draw's path (Figurnov, Mohamed & Mnih 2018, eq. 5), as its shape is df/2: book eq.
    `eq-chi-square-path`.

    Parameters
    ----------
    df : array_like
        In [1e-100, 1e100], not only whole numbers.
    n_samples : int, at least 1
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a df is outside its domain.

    Examples
    --------
    dE[x]/ddf = 1:

    >>> paths = chi_square(5.0, 100_000, np.random.default_rng(0))
    >>> np.mean(np.exp(paths.log_x) * paths.dlogx_ddf).round(2)
    np.float64(1.0)
    """
    (df,) = _parameters(df=df)
    log_z = sample_log_standard(df / 2, n_samples, rng)
    return ChiSquarePaths(np.log(2) + log_z, dlogz_dshape(df / 2, log_z) / 2)


class StudentTPaths(NamedTuple):
    """Draws of t ~ Student(df) as sign and log abs(t), and their derivative at fixed noise, (S, ...) each."""

    sign: Array                  # -1 or 1
    log_abs_t: Array
    dlogabst_ddf: Array


def student_t(df: ArrayLike, n_samples: int, rng: np.random.Generator) -> StudentTPaths:
    """Draws of Student's t, normal / sqrt(chi-square(df) / df), and their paths: dt/ddf = t dlogabst_ddf.

    The normal's square is 2 Gamma(1/2, 1) and does not move with df; half of log df - log z_2 does
    (Figurnov, Mohamed & Mnih 2018, eq. 5; book eq. `eq-student-path`). In log space the tail of a small df
    does not overflow.

    Parameters
    ----------
    df : array_like
        Degrees of freedom in [1e-100, 1e100].
    n_samples : int, at least 1
    rng : numpy.random.Generator

    Raises
    ------
    ValueError
        If a df is outside its domain.

    Examples
    --------
    dE[t^2]/ddf = -2 / (df - 2)^2, here -0.0313:

    >>> paths = student_t(10.0, 400_000, np.random.default_rng(0))
    >>> np.mean(2 * np.exp(2 * paths.log_abs_t) * paths.dlogabst_ddf).round(2)
    np.float64(-0.03)
    """
    (df,) = _parameters(df=df)
    log_z2 = sample_log_standard(df / 2, n_samples, rng)
    log_z1 = sample_log_standard(np.full(df.shape, 0.5), n_samples, rng)
    sign = rng.choice([-1.0, 1.0], log_z1.shape)
    log_abs_t = (log_z1 + (np.log(df) - log_z2)) / 2
    return StudentTPaths(sign, log_abs_t, (1 / df - dlogz_dshape(df / 2, log_z2) / 2) / 2)


def _parameters(**values: ArrayLike) -> tuple[Array, ...]:
    """The parameters as arrays of one shape, each in its domain."""
    arrays = {name: real(name, value) for name, value in values.items()}
    for name, array in arrays.items():
        require(name, "in [1e-100, 1e100]", array, (array >= 1e-100) & (array <= 1e100))
    try:
        return np.broadcast_arrays(*arrays.values())
    except ValueError:
        shapes = " and ".join(str(array.shape) for array in arrays.values())
        raise ValueError(f"{' and '.join(arrays)} must broadcast, got {shapes}") from None
