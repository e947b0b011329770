"""Truths of the exact tests in mpmath, each from a formula that the package itself does not use, and how to compare."""

from functools import wraps

import mpmath as mp
import numpy as np
from hypothesis import settings

EPS = float(np.finfo(float).eps)

#: Hypothesis draws the same examples on every run; no deadline, since the first call compiles.
repeatable = settings(derandomize=True, deadline=None, max_examples=60)


def digits(n):
    """Run a function at n decimal digits."""
    def decorate(function):
        @wraps(function)
        def at_n_digits(*arguments):
            with mp.workdps(n):
                return function(*map(exactly, arguments))
        return at_n_digits
    return decorate


def exactly(x):
    """A double as the same number in mpmath."""
    return x if isinstance(x, mp.mpf) else mp.mpf(float(x))


def errors(values, truths, scale=abs):
    """|value - truth| / scale(truth), elementwise."""
    with mp.workdps(50):
        pairs = zip(np.ravel(values), truths, strict=True)
        return np.array([float(abs(exactly(value) - truth) / scale(truth)) for value, truth in pairs])


@digits(90)
def dlogz_dshape(shape, log_z):
    """-(dP/dshape) / (z p), where P = z^a e^-z sum_n z^n / Gamma(a+1+n) (DLMF 8.11.4), differentiated term by term.

    In integers, as multiples of 2^-256: much faster than mpmath's floats. All terms are
    positive to the left of the mode; to the right they cancel by about 1 / (1 - P), at
    most seven of the 45 digits asked of the sum here.
    """
    one = 1 << 256
    a, z, gap = (int(x * one) for x in (shape, mp.exp(log_z), mp.digamma(shape + 1) - log_z))
    term, total = one, gap
    while gap <= 0 or term * gap >> 256 > total >> 150:
        a += one
        term = term * z // a
        gap += (one << 256) // a
        total += term * gap >> 256
    return mp.mpf(total) / one / shape


@digits(60)
def log_zp(shape, z):
    """log(z p(z; shape)), the density of log z."""
    return shape * mp.log(z) - z - mp.loggamma(shape)


@digits(60)
def kl(alpha, beta, A, B):
    """The textbook's KL(Gamma(alpha, beta) || Gamma(A, B)): it cancels, and has the digits to spare."""
    return ((alpha - A) * mp.digamma(alpha) - mp.loggamma(alpha) + mp.loggamma(A)
            + A * mp.log(beta / B) + alpha * (B / beta - 1))


def kls(q, p):
    """`kl` of each of the pairs in two one-dimensional `Gamma`."""
    return [kl(*numbers) for numbers in zip(q.shape, q.rate, p.shape, p.rate, strict=True)]


def derivative(function, x, h=1e-20):
    """A central difference at 60 digits: it leaves h^2 = 1e-40 of the third derivative and 1e-60 / h of the value."""
    with mp.workdps(60):
        x, h = exactly(x), mp.mpf(h)
        return (function(x + h) - function(x - h)) / (2 * h)
