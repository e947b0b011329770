"""Synthetic zeros beside real ones."""

from pathlib import Path

import numpy as np

from vi_ref import PoissonGamma, datasets, fit, plots

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
result = fit(model, model.prior, rng=np.random.default_rng(0))
figure = plots.generated(result.q, datasets.digit(0), np.random.default_rng(1))
plots.save(figure, Path(__file__).with_suffix(".png"))
