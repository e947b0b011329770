"""Error of fits by each gradient estimator against the rows asked of the model, on four pixels of the digit zero."""

from pathlib import Path

from vi_ref import plots, study_fit, study_plots

result = study_fit.errors(study_fit.half_a_row())
lines = [f"KL(q || posterior) after {result['n_steps']} steps, {result['seeds']} seeds; exact asks for no rows",
         f"{'':<30}{'draws a step':>14}" + "".join(f"{head:>12}" for head in ("rows", "lowest", "median", "highest"))]
for label, fits in result["fits"].items():
    ends = "".join(f"{fits[name][-1]:>12.1e}" for name in ("low", "median", "high"))
    lines.append(f"{label:<30}{fits['n_samples']:>14}{fits['rows'][-1]:>12}{ends}")
Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
plots.save(study_plots.fit_error(result), Path(__file__).with_suffix(".png"))
