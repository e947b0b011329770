"""Poisson factorisation: tables of counts as sums of a few causes, by coordinate ascent or by Monte Carlo gradients.

`PoissonFactorization` is scikit-learn's way in, and is loaded on first use.
"""

from importlib import import_module

_HOME = {"PoissonFactorization": "estimator"}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vi_ref.poisson_factorization' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"vi_ref.poisson_factorization.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted(__all__)
