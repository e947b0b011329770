"""Error of fits by each gradient estimator against the rows asked of the model, on four pixels of the digit zero."""

from pathlib import Path

from vi_ref import plots, study_fit, study_plots

result = study_fit.errors(study_fit.half_a_row())
Path(__file__).with_suffix(".txt").write_text(study_fit.table(result) + "\n", encoding="utf-8")
plots.save(study_plots.fit_error(result), Path(__file__).with_suffix(".png"))
