"""The drawn prior: what an average zero looks like, and how sure that is."""

from pathlib import Path

from vi_ref import datasets, plots

figure = plots.drawn_prior(datasets.picture_prior(datasets.ring()))
plots.save(figure, Path(__file__).with_suffix(".png"))
