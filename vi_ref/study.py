"""How noisy are the gradient estimators? Bias, variance and cost of each on a model, and variance over shapes.

Variances are multiples of F/S, the Fisher information in (log shape, log rate) over the number of samples: what
the full reparameterisation gradient has at q = posterior, exactly.
"""

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from vi_ref import exact_elbo
from vi_ref._validate import positive, whole
from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gamma_grad_fast import dlogz_dshape
from vi_ref.gradients import by_name, generalized_reparameterization, measure_valued, rejection_sampling
from vi_ref.gradients._paths import entropy_gradient
from vi_ref.poisson_gamma import PoissonGamma
from vi_ref.special import digamma_minus_log_ufunc, trigamma_minus_reciprocal_ufunc

Array = NDArray[np.float64]

#: What is compared: label, gradient estimator, options.
ESTIMATORS: dict[str, tuple[str, dict[str, Any]]] = {
    "score": ("score_function", {}),
    "score, leave one out": ("score_function", {"baseline": "leave_one_out"}),
    "score, Rao-Blackwell": ("score_function", {"rao_blackwell": True}),
    "score, R.-B., leave one out": ("score_function", {"rao_blackwell": True, "baseline": "leave_one_out"}),
    "score, R.-B., control variate": ("score_function", {"rao_blackwell": True, "baseline": "control_variate"}),
    "G-REP": ("generalized_reparameterization", {}),
    "RSVI, B = 0": ("rejection_sampling", {"augmentation": 0}),
    "RSVI, B = 1": ("rejection_sampling", {"augmentation": 1}),
    "RSVI, B = 10": ("rejection_sampling", {"augmentation": 10}),
    "measure-valued": ("measure_valued", {"coupled": False}),
    "measure-valued, coupled": ("measure_valued", {"coupled": True}),
    "reparameterized": ("reparameterized", {}),
    "sticking the landing": ("sticking_the_landing", {}),
}
#: A standard error below this multiple of F + 1 is rounding, and is taken to be as large as this.
ROUNDING = 1e-10
SHAPES = tuple(float(shape) for shape in np.logspace(-2, 4, 13))


class Counted:
    """A model that notes which of its functions are called, and counts the rows of log theta given to them."""

    def __init__(self, model: PoissonGamma):
        self.model, self.rows, self.asked = model, 0, set[str]()

    def __getattr__(self, name: str) -> Any:
        function = getattr(self.model, name)

        def counted(log_theta):
            self.rows += len(log_theta)
            self.asked.add(name)
            return function(log_theta)

        return counted


def fisher(q: Gamma) -> Array:
    """Fisher information of each column in log shape, alpha^2 psi'(alpha), and in log rate, alpha: (2, D)."""
    return np.stack([q.shape + q.shape**2 * trigamma_minus_reciprocal_ufunc(q.shape), q.shape])


def points(model: PoissonGamma) -> dict[str, Gamma]:
    """The prior, the posterior, and half way between: the geometric means of their shapes and rates."""
    a, b = model.prior, model.posterior
    return {"start": a, "half way": Gamma(np.sqrt(a.shape * b.shape), np.sqrt(a.rate * b.rate)), "optimum": b}


def replicated(model: PoissonGamma, q: Gamma, label: str, n_samples: int, replicates: int,
               rng: np.random.Generator) -> tuple[Array, dict[str, Any]]:
    """Repeated estimates of the gradient, (R, 2, D), and what they cost.

    That is: the model's functions that they call, the rows given to these a draw, and the median seconds of an
    estimate.
    """
    name, options = ESTIMATORS[label]
    estimate, counted = by_name(name), Counted(model)
    estimate(model, q, n_samples, np.random.default_rng(0), **options)                    # compiles, untimed
    gradients, seconds = [], []
    for _ in range(replicates):
        began = time.perf_counter()
        gradients.append(estimate(counted, q, n_samples, rng, **options)[1:])
        seconds.append(time.perf_counter() - began)
    return np.array(gradients), {"asked": sorted(counted.asked), "evaluations": counted.rows / (replicates * n_samples),
                                 "seconds": float(np.median(seconds))}


def noise(gradients: Array, exact: ArrayLike, information: Array, n_samples: int) -> dict[str, float]:
    """Bias and variance of replicated gradients, (R, 2, D), against the exact gradient and F/S, (2, D) each.

    ``worst_z`` and ``rms_z`` are of the bias in standard errors, over the components; ``variance`` is the mean over
    all of variance / (F/S); ``sd_log_shape`` and ``sd_log_rate`` are the root of that mean over either half.
    """
    variance = gradients.var(axis=0, ddof=1)
    error = np.maximum(np.sqrt(variance / len(gradients)), ROUNDING * (information + 1))
    z = (gradients.mean(axis=0) - exact) / error
    ratio = variance * n_samples / information
    sd = np.sqrt(ratio.mean(axis=1))
    return {"worst_z": float(np.abs(z).max()), "rms_z": float(np.sqrt(np.mean(z**2))),
            "variance": float(ratio.mean()), "sd_log_shape": float(sd[0]), "sd_log_rate": float(sd[1])}


def compare(model: PoissonGamma, n_samples: int = 16, replicates: int = 400, seed: int = 0,
            labels: Sequence[str] = tuple(ESTIMATORS)) -> dict[str, dict[str, dict[str, Any] | None]]:
    """What `noise` and `replicated` say of the `ESTIMATORS` at each of the `points`, by point and label.

    With the cost of S = `n_samples` >= 3 draws and the variance times it. None stands where rejection sampling
    at B = 0 has no sampler, for a shape below 1: at all three points of the digit zero.
    """
    n_samples, replicates = whole("n_samples", n_samples, 3), whole("replicates", replicates, 2)
    result: dict[str, dict[str, dict[str, Any] | None]] = {point: {} for point in points(model)}
    for i, (point, q) in enumerate(points(model).items()):
        for label in labels:
            if ESTIMATORS[label][1].get("augmentation") == 0 and np.any(q.shape < 1):
                result[point][label] = None
                continue
            rng = np.random.default_rng([seed, i, list(ESTIMATORS).index(label)])
            gradients, costs = replicated(model, q, label, n_samples, replicates, rng)
            row = noise(gradients, exact_elbo.gradient(model, q), fisher(q), n_samples) | costs
            result[point][label] = row | {f"variance_{cost}": row["variance"] * row[cost]
                                          for cost in ("evaluations", "seconds")}
    return result


def relative_times(digit: dict[str, dict[str, dict[str, Any] | None]]) -> dict[str, float]:
    """Of a result of `compare`: the least seconds of each estimator over the points, in those of the full gradient."""
    labels = [label for label, row in digit["start"].items() if row is not None]
    least = {label: min(rows[label]["seconds"] for rows in digit.values()) for label in labels}
    return {label: seconds / least["reparameterized"] for label, seconds in least.items()}


def draws(path: str | int, shape: Array, n: int, rng: np.random.Generator) -> tuple[Array, Array, Array]:
    """Draws of log z and, at fixed noise, d/dshape of log z and of the noise's log density, (n, D) each.

    `path` is ``"implicit"``, ``"g_rep"`` or the number of augmentations of rejection sampling.
    """
    if path == "implicit":
        log_z = sample_log_standard(shape, n, rng)
        return log_z, dlogz_dshape(shape, log_z), np.zeros_like(log_z)
    if path == "g_rep":
        return generalized_reparameterization.draw(shape, n, rng)
    return rejection_sampling.draw(shape, n, rng, path)


def off_optimum(shape: ArrayLike) -> tuple[PoissonGamma, Gamma]:
    """Targets Gamma(shape, 1), normalised, and a q beside each, 0.1 sd away in log shape and in log mean.

    An sd is 1 / sqrt of the Fisher information in (log shape, log mean), which are orthogonal: KL(q || target) is
    about (0.1^2 + 0.1^2) / 2 = 0.01 nats at every shape. Both move upwards.
    """
    shape = positive("shape", shape)
    model = PoissonGamma.from_totals(Gamma(shape, 1.0), 0, np.zeros(shape.shape))
    moved = shape * np.exp(0.1 / np.sqrt(shape**2 * trigamma_minus_reciprocal_ufunc(shape)))
    return model, Gamma(moved, moved / (shape * np.exp(0.1 / np.sqrt(shape))))


def one_sample(model: PoissonGamma, q: Gamma, n: int, rng: np.random.Generator) -> dict[str, Array]:
    """Gradients in log shape from one draw each, (n, D): every column a problem of its own, f its own terms.

    Rejection sampling without augmentation is NaN where a shape is below 1; up to 4/3 its squares have no variance.
    """
    entropy = entropy_gradient(q)[0]

    def corrected(path, shape=q.shape):
        log_z, moved, correction = draws(path, shape, n, rng)
        log_theta = log_z - np.log(q.rate)
        f, slope = model.log_joint_terms(log_theta), model.grad_log_joint(log_theta)
        return shape * (slope * moved + f * correction) + entropy

    log_z, moved, _ = draws("implicit", q.shape, n, rng)
    log_theta = log_z - np.log(q.rate)
    pathwise = (model.grad_log_joint(log_theta) - q.grad_log_density(log_theta)) * q.shape * moved
    score = q.shape * (log_z - np.log(q.shape) - digamma_minus_log_ufunc(q.shape))
    bare = np.where(q.shape >= 1, corrected(0, np.maximum(q.shape, 1)), np.nan)
    measured = measure_valued.weak_derivatives(model, q, *measure_valued.draw(q, n, rng, True))[1]
    return {
        "score, Rao-Blackwell": (model.log_joint_terms(log_theta) - q.log_density(log_theta)) * score,
        "G-REP": corrected("g_rep"), "RSVI, B = 0": bare, "RSVI, B = 1": corrected(1), "RSVI, B = 10": corrected(10),
        "measure-valued, coupled": measured, "implicit, entropy exact": corrected("implicit"),
        "reparameterized": pathwise - score, "sticking the landing": pathwise,
    }


def mean_square(errors: Array) -> tuple[Array, Array]:
    """Mean square over the first axis and its standard error."""
    squares = errors**2
    return squares.mean(axis=0), squares.std(axis=0, ddof=1) / np.sqrt(len(squares))


def shape_sweep(n: int = 100_000, seed: int = 0, shapes: Sequence[float] = SHAPES) -> dict[str, Any]:
    """Variance / F of `one_sample` gradients at the q of `off_optimum`, with its standard error, by shape."""
    model, q = off_optimum(shapes)
    exact, information = exact_elbo.gradient(model, q)[0], fisher(q)[0]
    result: dict[str, Any] = {"shape": q.shape.tolist(), "draws": n, "variance": {}, "error": {}}
    for label, gradients in one_sample(model, q, whole("n", n, 2), np.random.default_rng(seed)).items():
        for name, values in zip(("variance", "error"), mean_square(gradients - exact), strict=True):
            result[name][label] = [None if np.isnan(v) else float(v) for v in values / information]
    return result
