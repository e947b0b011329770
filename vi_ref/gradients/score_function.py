"""The score function gradient: samples are weighed, nothing is differentiated but log q.

With f = log joint - log q and the scores h = d log q / d(log shape, log rate), whose mean is zero,
the gradient of the ELBO is E[f h]. It asks no slope of the model, and pays in variance: a constant
added to f changes no mean and every sample. Hence f may lose what does not touch its column
(Rao-Blackwell), and be counted from a baseline that the sample itself has no part in.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from vi_ref._validate import one_of, whole
from vi_ref.gamma import Gamma, sample_log_standard
from vi_ref.gradients._paths import Estimate
from vi_ref.special import digamma_minus_log_ufunc

Array = NDArray[np.float64]

_FEWEST_SAMPLES = {"none": 1, "leave_one_out": 2, "control_variate": 3, "control_variate_independent": 2}


def estimate(model: Any, q: Gamma, n_samples: int, rng: np.random.Generator, *,
             rao_blackwell: bool = False, baseline: str = "none") -> Estimate:
    """Unbiased estimate of the ELBO, the mean of f, and of its gradient, the mean of (f - baseline) h.

    Without a baseline it is book eq. `eq-score-function`.

    Parameters
    ----------
    model : object
        With ``log_joint``, (S, D) -> (S,), in log theta; no gradient is asked for.
    q : Gamma, shape (D,)
    n_samples : int
        S, at least 1; with a baseline at least 2, or 3 for ``"control_variate"``.
    rng : numpy.random.Generator
    rao_blackwell : bool
        For column d keep of f only the factors that touch theta_d, ``model.log_joint_terms``,
        (S, D) -> (S, D), less log q_d: book eq. `eq-rao-blackwell`. Without it every column is weighed by the whole f.
    baseline : str
        What is subtracted from f_s in each column:

        - ``"none"``: nothing;
        - ``"leave_one_out"``: the mean of the other samples' f, book eq. `eq-leave-one-out`;
        - ``"control_variate"``: kappa = Cov(f h, h) / Var(h) over the other samples, for each column and each of its
          two parameters (over equal h, the mean of their f), book eq. `eq-control-variate`;
        - ``"control_variate_independent"``: the same over a second batch of S samples.

    Returns
    -------
    Estimate
        At q = posterior f is the log evidence L (Rao-Blackwellised, the column's) whatever the sample. Without a
        baseline the covariance there is L^2 F / S (book eq. `eq-score-variance-at-optimum`), F the Fisher
        information in (log shape, log rate): the log-shape sd is abs(L) sqrt(alpha^2 psi'(alpha) / S). With
        any of the others nothing is left of it.

        ``"leave_one_out"`` is the sample covariance of f and h, anywhere of variance
        (E[(f - Ef)^2 h^2] + Var(f) Var(h) / (S-1) - (S-2) / (S-1) g^2) / S, g the gradient:
        book eq. `eq-leave-one-out-variance`.

        A coefficient fitted to k samples (S - 1 of them, or the second batch's S) can be far off when their h hardly
        differ. Its mean, without which "unbiased" says nothing, exists in the log rate if k alpha > 1, since h =
        alpha - z is flat near z = 0, and without `rao_blackwell` at two or more columns if k >= 3. Its variance,
        if k alpha > 2 and k >= 4.

    Raises
    ------
    ValueError
        If an option is unknown, the samples are too few for it, or the model lacks ``log_joint_terms``
        when `rao_blackwell` asks for it or returns other shapes than these.

    References
    ----------
    Ranganath, Gerrish & Blei (2014), Black box variational inference, for the gradient, `rao_blackwell` (section 3.1)
    and the control variate. Fitted to the very samples that it then corrects, its coefficient would leave a bias
    of order 1/S; here it has other samples, and one for each parameter.
    """
    fewest = _FEWEST_SAMPLES[one_of("baseline", baseline, tuple(_FEWEST_SAMPLES))]
    n_samples = whole("n_samples" if fewest == 1 else f"n_samples with baseline {baseline}", n_samples, fewest)
    if not isinstance(rao_blackwell, bool):
        raise ValueError(f"rao_blackwell must be True or False, got {rao_blackwell!r}")
    if rao_blackwell and not hasattr(model, "log_joint_terms"):
        raise ValueError(f"model must have log_joint_terms(log_theta) for rao_blackwell, got {type(model).__name__}")
    elbo, f, h = _sample(model, q, n_samples, rng, rao_blackwell)
    if baseline == "leave_one_out":
        f = f - _sum_of_others(f) / (n_samples - 1)
    elif baseline == "control_variate":
        f = f - _coefficient(f, h, _sum_of_others)                                # (2, S, D): one a parameter
    elif baseline == "control_variate_independent":
        _, *second = _sample(model, q, n_samples, rng, rao_blackwell)
        f = f - _coefficient(*second, lambda x: x.sum(axis=-2, keepdims=True))
    return Estimate(elbo, *np.mean(f * h, axis=1))


def _sample(model, q, n_samples, rng, rao_blackwell):
    """The mean of f; f, (S, D) or (S, 1); and the scores h in log shape and log rate, (2, S, D).

    Book eqs. `eq-rao-blackwell` and `eq-score-function-scores`.
    """
    log_z = sample_log_standard(q.shape, n_samples, rng)
    log_theta = log_z - np.log(q.rate)
    log_theta.flags.writeable = False                    # a model must not change what q is evaluated at
    log_joint, log_q = np.asarray(model.log_joint(log_theta)), q.log_density(log_theta)
    terms = np.asarray(model.log_joint_terms(log_theta)) if rao_blackwell else log_q
    if log_joint.shape != log_theta.shape[:1] or terms.shape != log_theta.shape:
        raise ValueError(f"model must return log_joint of shape {log_theta.shape[:1]} and log_joint_terms of shape "
                         f"{log_theta.shape} for log_theta of shape {log_theta.shape}, "
                         f"got {log_joint.shape} and {terms.shape}")
    whole_f = log_joint - log_q.sum(axis=1)
    f = terms - log_q if rao_blackwell else whole_f[:, None]
    score_log_shape = q.shape * (log_z - np.log(q.shape) - digamma_minus_log_ufunc(q.shape))
    score_log_rate = q.grad_log_density(log_theta)                                # alpha - beta theta
    return np.mean(whole_f), f, np.stack([score_log_shape, score_log_rate])


def _coefficient(f, h, total):
    """Cov(f h, h) / Var(h), `total` being the sum over the samples to be used; where all h are equal, the mean of f.

    Book eq. `eq-control-variate`.

    Counted from the median, which one far sample does not move: left out, it takes no digits of the rest with it.
    """
    y, x = (t - np.median(t, axis=1, keepdims=True) for t in (f * h, h))
    n = total(np.ones((len(f), 1)))
    covariance = total(x * y) - total(x) * total(y) / n
    variance = total(x**2) - total(x) ** 2 / n
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(variance > 0, covariance / variance, total(f) / n)


def _sum_of_others(x):
    """For each sample (axis -2) the sum of x over the others, added up from both ends and not by subtraction.

    Book eq. `eq-leave-one-out`.
    """
    others = np.zeros_like(x)
    others[..., 1:, :] += np.cumsum(x[..., :-1, :], axis=-2)
    others[..., :-1, :] += np.cumsum(x[..., :0:-1, :], axis=-2)[..., ::-1, :]
    return others
