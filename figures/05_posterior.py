"""q over the exact posterior at two pixels; mean, uncertainty and error over all 64."""

from pathlib import Path

import numpy as np

from vi_ref import PoissonGamma, datasets, fit, plots

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
result = fit(model, model.prior, rng=np.random.default_rng(0))
figure = plots.posterior_check(model, result.q)
plots.save(figure, Path(__file__).with_suffix(".png"))
