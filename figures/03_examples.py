"""Example digits."""

from pathlib import Path

from vi_ref import datasets, plots

figure = plots.examples(datasets.digit(0))
plots.save(figure, Path(__file__).with_suffix(".png"))
