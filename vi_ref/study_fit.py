"""How good a fit do so many evaluations of the model buy? The error of a fit against the rows it asked for.

Every gradient estimator is granted the same rows of log theta a step: those that ask for more a draw draw less.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from vi_ref import datasets
from vi_ref._validate import whole
from vi_ref.adam import Adam
from vi_ref.gamma import Gamma
from vi_ref.gradients import by_name
from vi_ref.optimize import fit
from vi_ref.poisson_gamma import PoissonGamma
from vi_ref.study import ESTIMATORS, Counted

#: Of `study.ESTIMATORS`; the last, without noise and without rows, is the limit of the others.
LABELS = ("score, R.-B., leave one out", "G-REP", "RSVI, B = 1", "RSVI, B = 10", "measure-valued, coupled",
          "reparameterized", "sticking the landing", "exact")
_OPTIMIZER = Adam(learning_rate=0.2, beta2=0.995)


def half_a_row() -> PoissonGamma:
    """Four pixels of the digit zero, the left half of its fifth row: from always 0 to one of the brightest.

    The measure-valued gradient asks for 3 D + 1 rows a draw: 13 of four columns, 193 of all.
    """
    prior, pixels = datasets.picture_prior(datasets.ring()), slice(32, 36)
    return PoissonGamma(Gamma(prior.shape[pixels], prior.rate[pixels]), datasets.digit(0)[:, pixels])


def counting(model: PoissonGamma, label: str) -> tuple[Callable[..., Any], Counted]:
    """The gradient estimator of a label, asking a model that counts, and that model."""
    name, options = ESTIMATORS[label]
    estimate, counted = by_name(name), Counted(model)
    return lambda _, q, n_samples, rng: estimate(counted, q, n_samples, rng, **options), counted


def rows_a_draw(model: PoissonGamma, label: str) -> int:
    """The rows of log theta for which a label's gradient estimator asks, a draw."""
    estimate, counted = counting(model, label)
    estimate(model, model.prior, 3, np.random.default_rng(0))          # 3: a control variate needs them
    return counted.rows // 3


def one_fit(model: PoissonGamma, label: str, rows: int, n_steps: int,
            rng: np.random.Generator) -> tuple[list[int], list[float], int]:
    """Rows asked for and KL(q || posterior) at the start and each fortieth of a fit, and its draws a step.

    It asks for at most `rows` a step. The exact gradient asks for nothing: it is set at the rows of those that do.
    """
    if label == "exact":
        estimate, counted, n_samples = by_name("exact"), None, 0
    else:
        n_samples = rows // rows_a_draw(model, label)
        estimate, counted = counting(model, label)
    result = fit(model, model.prior, gradient=estimate, n_samples=max(1, n_samples), n_steps=n_steps,
                 rng=rng, optimizer=_OPTIMIZER, keep_every=max(1, n_steps // 40))
    asked = rows if counted is None else counted.rows // n_steps
    kl = [float(Gamma(*q).kl(model.posterior).sum()) for q in zip(result.trace.shape, result.trace.rate, strict=True)]
    return (asked * result.trace.step).tolist(), kl, n_samples


def errors(model: PoissonGamma, rows: int = 52, n_steps: int = 1000, seeds: int = 3, seed: int = 0,
           labels: Sequence[str] = LABELS) -> dict[str, Any]:
    """KL(q || posterior) of fits from the prior against the rows asked for: its median over `seeds`, and the extremes.

    Adam in (log shape, log mean) at a learning rate of 0.2 that falls along a cosine, for all alike.

    Parameters
    ----------
    model : PoissonGamma
    rows : int
        Granted a step; at least those of two draws of every label.
    n_steps, seeds, seed : int
        Steps a fit, fits a label, and where the random numbers start.
    labels : sequence of str
        Of `LABELS`.

    Returns
    -------
    dict
        Under ``"fits"``, by label, ``"rows"`` asked for and ``"median"``, ``"low"`` and ``"high"`` at the start and
        each fortieth of a fit, and ``"n_samples"``, the draws a step.
    """
    n_steps, seeds = whole("n_steps", n_steps, 1), whole("seeds", seeds, 1)
    most = max(rows_a_draw(model, label) for label in labels if label != "exact")
    result: dict[str, Any] = {"rows": whole("rows", rows, 2 * most), "n_steps": n_steps, "seeds": seeds, "fits": {}}
    for label in labels:
        runs = [one_fit(model, label, rows, n_steps, np.random.default_rng([seed, LABELS.index(label), i]))
                for i in range(1 if label == "exact" else seeds)]
        kl = np.array([run[1] for run in runs])
        result["fits"][label] = {"rows": runs[0][0], "n_samples": runs[0][2], "median": np.median(kl, axis=0).tolist(),
                                 "low": kl.min(axis=0).tolist(), "high": kl.max(axis=0).tolist()}
    return result


def table(result: Mapping[str, Any]) -> str:
    """What `errors` found at the end of the fits, a line a gradient estimator."""
    heads = "".join(f"{head:>12}" for head in ("rows", "lowest", "median", "highest"))
    lines = [f"KL(q || posterior) after {result['n_steps']} steps, {result['seeds']} seeds; exact asks for no rows",
             f"{'':<30}{'draws a step':>14}{heads}"]
    for label, fits in result["fits"].items():
        ends = "".join(f"{fits[part][-1]:>12.1e}" for part in ("low", "median", "high"))
        lines.append(f"{label:<30}{fits['n_samples']:>14}{fits['rows'][-1]:>12}{ends}")
    return "\n".join(lines)
