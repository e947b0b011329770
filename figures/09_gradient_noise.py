"""Bias and variance of every gradient estimator on the digit zero, and their variance over shapes."""

from pathlib import Path

from vi_ref import PoissonGamma, datasets, plots, study, study_plots
from vi_ref.__main__ import gradient_table

model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
result = {"digit": study.compare(model), "shapes": study.shape_sweep()}
table = gradient_table(result["digit"], timed=False)
Path(__file__).with_suffix(".txt").write_text(table + "\n", encoding="utf-8")
plots.save(study_plots.gradient_noise(result), Path(__file__).with_suffix(".png"))
