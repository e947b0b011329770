"""The default run's table without its timings, as README shows it."""

from pathlib import Path

from vi_ref import PoissonGamma, datasets, exact_elbo
from vi_ref.__main__ import SETTINGS, run, table

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
checks = {name: exact_elbo.cross_check(model, run(model, settings, seed=0).q) for name, settings in SETTINGS.items()}
Path(__file__).with_name("digit_zero.txt").write_text(table(checks) + "\n", encoding="utf-8")
