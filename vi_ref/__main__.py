"""The command line: ``python -m vi_ref`` fits the digit zero and holds it against the exact posterior.

``python -m vi_ref gradients`` measures the bias, variance and cost of the gradient estimators, and ``python -m vi_ref
compare`` holds other libraries against the truth.
"""

import argparse
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from vi_ref import __version__, _validate, datasets, empirical_bayes, exact_elbo
from vi_ref._command import Parser, is_number, read_table, refuse, versions, writable, write
from vi_ref.adam import Adam
from vi_ref.coordinates import COORDINATES
from vi_ref.gamma import Gamma
from vi_ref.gradients import NAMES
from vi_ref.optimize import SCHEDULES, Fit, fit
from vi_ref.poisson_gamma import PoissonGamma

_TUTORIAL = {"gradient": "reparameterized", "coordinates": "rate", "schedule": "constant",
             "learning_rate": 0.2, "beta2": 0.999, "n_samples": 128, "steps": 5000}
_OURS = _TUTORIAL | {"coordinates": "mean", "schedule": "cosine", "beta2": 0.996}

#: The three fits of the default run, by name.
SETTINGS: dict[str, dict[str, Any]] = {
    "tutorial": _TUTORIAL,
    "reparameterized": _OURS,
    "sticking_the_landing": _OURS | {"gradient": "sticking_the_landing"},
}
_FILES = ("convergence.png", "posterior.png", "prior.png", "generated.png", "intervals.png", "summary.csv",
          "result.json")
_GRADIENT_FILES = ("gradient_noise.png", "naesseth.png", "fit_error.png", "gradients.json")
#: With default settings the command fails when a worst relative error exceeds these.
LIMITS = {"reparameterized": 5e-2, "sticking_the_landing": 1e-9}


def parser() -> argparse.ArgumentParser:
    """The options of ``python -m vi_ref fit``."""
    p = Parser(prog="python -m vi_ref fit", epilog="Other commands: gradients, compare; each has --help.", description=(
        "Fit the Poisson-gamma model by variational inference with hand-derived gradients, and hold the result "
        "against the exact posterior. Without options: the digit zero, three ways."))
    p.add_argument("--digit", type=int, metavar="N", help="the digit to fit, 0 to 9 (default 0)")
    p.add_argument("--counts", type=Path, metavar="FILE", help="your own counts, .csv or .npy; rows are observations")
    p.add_argument("--prior-shape", metavar="A", help="prior shape: a number, or a .csv or .npy file with one a column "
                   "(default: twice the drawn ring for digits, 1 for --counts)")
    p.add_argument("--prior-rate", metavar="B", help="prior rate, likewise (default: 2 for digits, 1 for --counts)")
    p.add_argument("--pooled", action="store_true", help="one prior for all columns, the one that makes their totals "
                   "most probable (empirical Bayes)")
    p.add_argument("--gradient", metavar="NAME", help=f"fit once, with this gradient: {', '.join(NAMES)}")
    p.add_argument("--n-samples", type=int, metavar="S", help="Monte Carlo samples a step (default 128)")
    p.add_argument("--steps", type=int, metavar="T", help="steps of the optimiser (default 5000)")
    p.add_argument("--learning-rate", type=float, metavar="R", help="Adam's highest learning rate (default 0.2)")
    p.add_argument("--schedule", metavar="NAME", help=f"learning rate over the steps: {', '.join(SCHEDULES)}")
    p.add_argument("--coordinates", metavar="NAME", help="the optimiser moves log shape and log rate, or log shape "
                   f"and log mean: {', '.join(COORDINATES)}")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (default 0)")
    p.add_argument("--out", type=Path, default=Path("results"), metavar="DIR",
                   help="folder for pictures and result.json (default results)")
    p.add_argument("--version", action="version", version=__version__)
    return p


def main(argv: list[str] | None = None) -> int:
    """Run the command; 0 if all is well, 1 if the fit misses its limits, 2 for bad input."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["gradients"]:
        return gradients(argv[1:])
    if argv[:1] == ["compare"]:
        from vi_ref.compare.command import compare

        return compare(argv[1:])
    options = parser().parse_args(argv[1:] if argv[:1] == ["fit"] else argv)
    try:
        settings = chosen_settings(options)
        model, counts, names = chosen_model(options)
        seed = _validate.whole("--seed", options.seed, 0)
        writable(options.out, _FILES)
    except (ValueError, OSError) as error:
        return refuse(error)
    asked = (options.digit or None, options.counts, options.prior_shape, options.prior_rate, options.gradient,
             options.pooled or None)
    judged = settings == SETTINGS and seed == 0 and all(value is None for value in asked)

    m, d = model.n_observations, model.totals.size
    print(f"{m} observations of {d} counts; prior Gamma(shape {_range(model.prior.shape)}, "
          f"rate {_range(model.prior.rate)}); seed {seed}")
    try:
        fits, seconds = _fits(model, settings, seed)
    except (FloatingPointError, MemoryError, ValueError) as error:
        return refuse(error)
    checks = {name: exact_elbo.cross_check(model, result.q) for name, result in fits.items()}
    passed, verdict = judge(checks) if judged else (True, "settings differ from the default: reported, not judged")
    summed, words = _summary(model, fits, names, seed)
    try:
        write(options.out, _pictures(model, counts, fits, seed) | summed, {
            "prior": _lists(model.prior),
            "posterior": _lists(model.posterior),
            "fits": {name: {"q": _lists(fits[name].q), "settings": settings[name], "cross_check": checks[name],
                            "seconds_per_step": seconds[name]} for name in fits},
            "judged": judged,
            "passed": passed if judged else None,
            "seed": seed,
            "versions": versions(),
        }, _FILES)
    except OSError as error:
        return refuse(error)
    print(table(checks, seconds), verdict, *words, f"pictures and result.json are in {options.out}", sep="\n")
    return 0 if passed else 1


def gradients_parser() -> argparse.ArgumentParser:
    """The options of ``python -m vi_ref gradients``."""
    p = Parser(prog="python -m vi_ref gradients", description=(
        "Measure the bias, variance and cost of the gradient estimators on the digit zero, their variance over shapes, "
        "the comparison of Naesseth et al. (2017), Fig. 4, and the error of fits to four pixels against what they ask "
        "of the model. Half a minute by default."))
    p.add_argument("--replicates", type=int, default=400, metavar="N", help="estimates of each kind on the digit "
                   "(default 400); 250 times as many draws for each of the next two, fits of 2.5 times as many steps")
    p.add_argument("--seed", type=int, default=0, metavar="N", help="seed of the random numbers (default 0)")
    p.add_argument("--out", type=Path, default=Path("results"), metavar="DIR",
                   help="folder for pictures and gradients.json (default results)")
    return p


def gradients(argv: list[str]) -> int:
    """Run ``python -m vi_ref gradients``; 0 if all is well, 2 for bad input."""
    options = gradients_parser().parse_args(argv)
    try:
        replicates = _validate.whole("--replicates", options.replicates, 2)
        seed = _validate.whole("--seed", options.seed, 0)
        writable(options.out, _GRADIENT_FILES)
    except (ValueError, OSError) as error:
        return refuse(error)
    from vi_ref import study, study_dirichlet, study_fit, study_plots  # slow to import, as in _pictures

    model = PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))
    n = 250 * replicates
    print(f"the digit zero, {replicates} estimates of each kind; seed {seed}")
    try:
        result = {"digit": study.compare(model, replicates=replicates, seed=seed),
                  "shapes": study.shape_sweep(n, seed), "naesseth": study_dirichlet.naesseth(n=n, seed=seed),
                  "fit": study_fit.errors(study_fit.half_a_row(), n_steps=5 * replicates // 2, seed=seed)}
        figures = {"gradient_noise.png": study_plots.gradient_noise(result),
                   "naesseth.png": study_plots.naesseth(result["naesseth"]),
                   "fit_error.png": study_plots.fit_error(result["fit"])}
        write(options.out, figures, result | {"replicates": replicates, "seed": seed, "versions": versions()},
               _GRADIENT_FILES)
    except (FloatingPointError, MemoryError, OSError) as error:
        return refuse(error)
    print(gradient_table(result["digit"]), study_fit.table(result["fit"]), sep="\n\n")
    print(f"pictures and gradients.json are in {options.out}")
    return 0


def _fits(model: PoissonGamma, settings: Mapping[str, Mapping[str, Any]],
          seed: int) -> tuple[dict[str, Fit], dict[str, float]]:
    """Each fit, and the seconds of one of its steps."""
    for gradient in ("reparameterized", "sticking_the_landing"):                          # compiles, untimed
        fit(model, model.prior, gradient=gradient, n_samples=2, n_steps=1, rng=np.random.default_rng(0))
    fits, seconds = {}, {}
    for name, chosen in settings.items():
        began = time.perf_counter()
        fits[name] = run(model, chosen, seed)
        seconds[name] = (time.perf_counter() - began) / chosen["steps"]
    return fits, seconds


def run(model: PoissonGamma, settings: Mapping[str, Any], seed: int) -> Fit:
    """One fit from the prior with the settings of one entry of `SETTINGS`."""
    adam = Adam(settings["learning_rate"], beta2=settings["beta2"])
    return fit(model, model.prior, gradient=settings["gradient"], n_samples=settings["n_samples"],
               n_steps=settings["steps"], rng=np.random.default_rng(seed), optimizer=adam,
               schedule=settings["schedule"], coordinates=settings["coordinates"])


def chosen_settings(options: argparse.Namespace) -> dict[str, dict[str, Any]]:
    """The fits that the options ask for, their settings checked."""
    checks = {"n_samples": lambda v: _validate.whole("--n-samples", v, 1),
              "steps": lambda v: _validate.whole("--steps", v, 1),
              "learning_rate": lambda v: _validate.between("--learning-rate", v, 0, np.inf),
              "schedule": lambda v: _validate.one_of("--schedule", v, tuple(SCHEDULES)),
              "coordinates": lambda v: _validate.one_of("--coordinates", v, tuple(COORDINATES))}
    given = {name: check(getattr(options, name)) for name, check in checks.items()
             if getattr(options, name) is not None}
    if options.gradient is None:
        return {name: settings | given for name, settings in SETTINGS.items()}
    name = _validate.one_of("--gradient", options.gradient, NAMES)
    return {name: _OURS | {"gradient": name} | given}


def chosen_model(options: argparse.Namespace) -> tuple[PoissonGamma, np.ndarray, list[str] | None]:
    """The model that the options ask for, its counts, and the names of the columns of a table of one's own."""
    if options.counts is None:
        counts = datasets.digit(options.digit or 0)
        return PoissonGamma(_chosen_prior(options, counts, None), counts), counts, None
    if options.digit is not None:
        raise ValueError("--digit and --counts exclude each other")
    names, counts = read_table(options.counts)
    if counts.ndim != 2:
        raise ValueError(f"{options.counts}: must be a table of observations by columns, got shape {counts.shape}")
    model = PoissonGamma(_chosen_prior(options, counts, names), counts)
    names = names or [f"column {d}" for d in range(counts.shape[1])]
    if len(names) != counts.shape[1] or len(set(names)) != len(names):
        raise ValueError(f"{options.counts}: the first line must name each of {counts.shape[1]} columns, no two alike, "
                         f"got {', '.join(names)!r:.60}")
    return model, counts, names


def _chosen_prior(options: argparse.Namespace, counts: np.ndarray, names: list[str] | None) -> Gamma:
    given = {"--prior-shape": options.prior_shape, "--prior-rate": options.prior_rate}
    if options.pooled:
        for option, value in given.items():
            if value is not None:
                raise ValueError(f"--pooled and {option} exclude each other")
        counts = PoissonGamma(Gamma(1.0, 1.0), counts)                # looks at them
        return empirical_bayes.pooled(counts.n_observations, counts.totals)
    default = Gamma(1.0, 1.0) if options.counts is not None else datasets.picture_prior(datasets.ring())
    shape, rate = (default_value if text is None else _prior(option, text, np.shape(counts)[-1], names)
                   for (option, text), default_value in zip(given.items(), (default.shape, default.rate), strict=True))
    return Gamma(shape, rate)


def judge(checks: Mapping[str, Mapping[str, Any]]) -> tuple[bool, str]:
    """Whether the default run's fits are within `LIMITS`, and a line that says so."""
    lines, passed = [], True
    for name, limit in LIMITS.items():
        worst = max(checks[name][part]["max"] for part in ("shape", "rate", "mean", "sd"))
        passed &= worst <= limit
        lines.append(f"{name} {'within' if worst <= limit else 'BEYOND'} its limit of {limit:g} (worst {worst:.1e})")
    return passed, "; ".join(lines)


def table(checks: Mapping[str, Mapping[str, Any]], seconds: Mapping[str, float] | None = None) -> str:
    """The cross-check of each fit, a column a fit."""
    rows = [("against the exact posterior", list(checks))]
    for part in ("shape", "rate", "mean", "sd"):
        for which in ("max", "median"):
            rows.append((f"{part}, {which} relative error", [f"{c[part][which]:.1e}" for c in checks.values()]))
    rows.append(("KL(q || posterior), nats", [f"{c['kl']:.1e}" for c in checks.values()]))
    rows.append(("log evidence - ELBO, nats", [f"{c['evidence_gap']:.1e}" for c in checks.values()]))
    rows.append(("  its rounding, at most", [f"{c['evidence_gap_rounding']:.1e}" for c in checks.values()]))
    if seconds is not None:
        rows.append(("milliseconds a step", [f"{1e3 * s:.2f}" for s in seconds.values()]))
    widths = [max(len(name), 9) for name in checks]
    return "\n".join(f"{label:<29}" + "".join(f"  {cell:>{width}}" for cell, width in zip(cells, widths, strict=True))
                     for label, cells in rows)


_COLUMNS = {"bias, worst z": "worst_z", "rms z": "rms_z", "sd log shape": "sd_log_shape", "sd log rate": "sd_log_rate",
            "model rows": "evaluations", "var x rows": "variance_evaluations", "seconds": "seconds",
            "var x seconds": "variance_seconds"}


def gradient_table(digit: Mapping[str, Mapping[str, Any]], timed: bool = True) -> str:
    """The result of `study.compare`, a block a point and a line an estimator; the columns in seconds if `timed`."""
    heads = [head for head in _COLUMNS if timed or "seconds" not in head]
    lines = []
    for point, rows in digit.items():
        lines.append(f"{point:<31}" + "".join(f"{head:>15}" for head in heads))
        for label, row in rows.items():
            cells = ["no sampler"] if row is None else [f"{row[_COLUMNS[head]]:.2e}" for head in heads]
            lines.append(f"  {label:<29}" + "".join(f"{cell:>15}" for cell in cells))
    lines.append("z: in standard errors; sd, var: root and mean, over the components, of variance / (F/S)")
    lines.append("model rows: those given to the model's functions, a draw; seconds: of one estimate")
    return "\n".join(lines)


def _pictures(model: PoissonGamma, counts: np.ndarray, fits: Mapping[str, Fit], seed: int) -> dict[str, Any]:
    from vi_ref import plots  # matplotlib is slow to import, and bad input should be refused at once

    best = fits[list(fits)[-1]]
    d = model.totals.size
    image = d == np.prod(datasets.IMAGE)
    figures = {"convergence.png": plots.parameter_error(model, fits),
               "posterior.png": plots.posterior_check(model, best.q, (4, 20) if image else (0, d - 1))}
    if image:
        figures["prior.png"] = plots.drawn_prior(model.prior)
    if image and best.q.mean.max() < 1e15:               # beyond it NumPy draws no Poisson counts
        figures["generated.png"] = plots.generated(best.q, counts, np.random.default_rng(seed))
    return figures


def _summary(model: PoissonGamma, fits: Mapping[str, Fit], names: list[str] | None,
             seed: int) -> tuple[dict[str, Any], list[str]]:
    """What the last fit says of each column of a table of one's own, to write and to print; else nothing."""
    if names is None:
        return {}, []
    from vi_ref import summary  # slow to import, as in _pictures

    best = fits[list(fits)[-1]].q
    said = summary.columns(model, best, names, np.random.default_rng(seed))
    return ({"intervals.png": summary.intervals(model, best, names), "summary.csv": summary.csv(said)},
            ["", summary.table(said)])


def _prior(option: str, text: str, d: int, names: list[str] | None) -> np.ndarray:
    if is_number(text):
        return np.full(d, _validate.positive(option, float(text)))
    heads, values = read_table(Path(text))
    values = _validate.positive(option, np.ravel(values))
    if values.size != d:
        raise ValueError(f"{option} must hold one number a column, {d}, got {values.size}")
    if names and heads and len(heads) == d and heads != names:
        raise ValueError(f"{option} must name the columns as --counts does, {', '.join(names)}, got {', '.join(heads)}")
    return values


def _range(values: np.ndarray) -> str:
    low, high = values.min(), values.max()
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _lists(q: Gamma) -> dict[str, list[float]]:
    return {"shape": q.shape.tolist(), "rate": q.rate.tolist()}


if __name__ == "__main__":
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        print("\nvi_ref: interrupted", file=sys.stderr)
        sys.exit(130)
