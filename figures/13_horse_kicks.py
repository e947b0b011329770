"""A table of one's own: rates, intervals and shrinkage of the horse-kick table."""

from pathlib import Path

from vi_ref import PoissonGamma, datasets, empirical_bayes, plots, summary

corps, counts = datasets.horse_kicks()
prior = empirical_bayes.pooled(len(counts), counts.sum(axis=0))
model = PoissonGamma(prior, counts)
plots.save(summary.intervals(model, model.posterior, corps), Path(__file__).with_suffix(".png"))
