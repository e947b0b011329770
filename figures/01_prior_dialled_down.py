"""The prior dialled down as examples accumulate."""

from pathlib import Path

from vi_ref import datasets, plots

figure = plots.prior_dialled_down(datasets.picture_prior(datasets.ring()), datasets.digit(0))
plots.save(figure, Path(__file__).with_suffix(".png"))
