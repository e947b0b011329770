"""Variance of one-draw gradients of a Dirichlet-multinomial, after Naesseth et al. (2017), Fig. 4."""

from pathlib import Path

from vi_ref import plots, study_dirichlet, study_plots

result = study_dirichlet.naesseth(n=500_000)
lines = ["mean square error, in parentheses its standard error", f"{'alpha_1':<33}"
         + "".join(f"{shape:>18g}" for shape in result["shape"])]
for constant in ("log_joint", "published"):
    for label, values in result[constant].items():
        cells = zip(values["mean_square"], values["error"], strict=True)
        lines.append(f"{constant:<12}{label:<21}" + "".join(f"{square:>9.2e} ({error:.0e})" for square, error in cells))
Path(__file__).with_suffix(".txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
plots.save(study_plots.naesseth(result), Path(__file__).with_suffix(".png"))
