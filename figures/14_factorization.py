"""Factors of the digit zero, and synthetic zeros of the factorised and of the independent model beside real ones."""

from pathlib import Path

from vi_ref import factorization_plots, plots, study_factorization

images = study_factorization.generate(10)
plots.save(factorization_plots.zeros_side_by_side(images), Path(__file__).with_suffix(".png"))
