"""From the tutorial's settings to rounding, one change at a time; all fits see the same seed."""

from pathlib import Path

import numpy as np

from vi_ref import Adam, PoissonGamma, datasets, exact_elbo, fit, plots

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
settings = {"gradient": "reparameterized", "coordinates": "rate", "schedule": "constant", "optimizer": Adam(0.2)}
changes = {
    "the tutorial's settings": {},
    "+ path derivative": {"gradient": "sticking_the_landing"},
    "+ (log shape, log mean)": {"coordinates": "mean"},
    "+ cosine schedule": {"schedule": "cosine"},
    "+ β₂ = 0.996": {"optimizer": Adam(0.2, beta2=0.996)},
}
fits = {}
for label, change in changes.items():
    settings |= change
    fits[label] = fit(model, model.prior, rng=np.random.default_rng(0), **settings)
figure = plots.parameter_error(model, fits)
finals = {label: exact_elbo.cross_check(model, result.q) for label, result in fits.items()}
lines = [f"{label:<26}{max(check['shape']['max'], check['rate']['max']):.1e}" for label, check in finals.items()]
Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
plots.save(figure, Path(__file__).with_suffix(".png"))
