"""Reference implementation of variational inference with the gamma family.

Everything public is loaded on first use: importing the package itself is cheap.
"""

from importlib import import_module

__version__ = "0.1.0"

_HOME = {"Gamma": "gamma", "PoissonGamma": "poisson_gamma", "Adam": "adam", "fit": "optimize",
         "PoissonExposure": "exposure", "GammaShape": "gamma_shape", "PoissonGammaDensity": "density",
         "PoissonFactorization": "poisson_factorization"}
_MODULES = ("adam", "coordinates", "datasets", "density", "diagnostics", "empirical_bayes", "exact_elbo", "exposure",
            "factorization_plots", "gamma", "gamma_grad", "gamma_grad_fast", "gamma_shape", "gamma_table", "gradients",
            "kernels", "negative_binomial", "optimize", "plots", "poisson_factorization", "poisson_gamma",
            "practice_plots", "related", "sampler", "special", "stopping", "study", "study_classify", "study_dirichlet",
            "study_factorization", "study_fit", "study_generation", "study_little_data", "study_plots",
            "study_recovery", "summary", "vectors")

__all__ = ["__version__", *_HOME, *_MODULES]


def __getattr__(name: str):
    if name in _HOME:
        value = getattr(import_module(f"vi_ref.{_HOME[name]}"), name)
    elif name in _MODULES:
        value = import_module(f"vi_ref.{name}")
    else:
        raise AttributeError(f"module 'vi_ref' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__():
    return sorted(__all__)
