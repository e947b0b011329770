"""q slides onto the exact posterior as the ELBO rises."""

from pathlib import Path

import numpy as np

from vi_ref import PoissonGamma, datasets, fit, plots

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
result = fit(model, model.prior, rng=np.random.default_rng(0), keep_every=10)
figure = plots.elbo_ascent(model, result, pixel=20, steps=(0, 10, 30, 100, 5000))
plots.save(figure, Path(__file__).with_suffix(".png"))
