"""The reference problem: digits fitted from the drawn prior, against the exact posterior.

The slow tests spread their fits over all cores; run them with ``pytest -m slow -s`` to see the worst cases.
"""

import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor
from itertools import product

import numpy as np
import pytest

from vi_ref import Adam, Gamma, PoissonGamma, exact_elbo, fit
from vi_ref.datasets import digit, picture_prior, ring

FLOORS = (0.05, 0.25, 0.5)
ANNEALED = {"coordinates": "mean", "schedule": "cosine", "optimizer": Adam(0.2, beta2=0.996)}
TUTORIAL = {"gradient": "reparameterized", "coordinates": "rate", "schedule": "constant", "optimizer": Adam(0.2)}


def model_of(target, floor):
    return PoissonGamma(picture_prior(ring(floor)), digit(target))


def errors(q, posterior):
    """Largest relative error over the columns of shape, rate, mean and sd."""
    pairs = ((getattr(q, name), getattr(posterior, name)) for name in ("shape", "rate", "mean", "sd"))
    return np.array([np.max(np.abs(ours / truth - 1)) for ours, truth in pairs])


def fit_all_floors(task):
    """Errors, and log evidence - ELBO over its rounding, of one digit at three floors.

    The floors are 3 * 64 columns of one fit: columns have samples of their own and
    Adam moves each by itself, so each fares as it would in a fit of 64.
    """
    target, seed = task
    models = [model_of(target, floor) for floor in FLOORS]
    prior = Gamma(np.hstack([m.prior.shape for m in models]), models[0].prior.rate[0])
    stacked = PoissonGamma.from_totals(prior, models[0].n_observations, np.hstack([m.totals for m in models]))
    q = fit(stacked, prior, rng=np.random.default_rng(seed), n_threads=1).q
    found = []
    for model, shape, rate in zip(models, q.shape.reshape(3, 64), q.rate.reshape(3, 64), strict=True):
        q = Gamma(shape, rate)
        gap = model.log_evidence - exact_elbo.value(model, q)
        found.append([*errors(q, model.posterior), abs(gap) / exact_elbo.rounding(model, q)])
    return found


def fit_zero(task):
    """Errors and log evidence - ELBO of one fit of the digit zero; None where it does not end finite."""
    seed, options = task
    model = model_of(0, 0.25)
    try:
        q = fit(model, model.prior, rng=np.random.default_rng(seed), n_threads=1, **options).q
    except FloatingPointError:
        return None
    return [*errors(q, model.posterior), model.log_evidence - exact_elbo.value(model, q)]


def on_all_cores(function, tasks):                       # a process a core, so that a fit has one thread
    context = multiprocessing.get_context("spawn")       # no fork of a process that may have threads
    with ProcessPoolExecutor(os.cpu_count(), mp_context=context) as pool:
        return list(pool.map(function, tasks))


def report(record_property, **figures):
    for name, value in figures.items():
        record_property(name, str(value))
        print(f"\n{name}: {value}", end="")


def test_sticking_the_landing_leaves_the_full_gradient_far_behind():
    path, full = (fit_zero((0, ANNEALED | {"gradient": name, "n_steps": 2000, "n_samples": 16}))
                  for name in ("sticking_the_landing", "reparameterized"))
    # Over seeds 0-9: shape and rate at most 6e-14 off, against 5e-2 at least with the full gradient.
    assert max(path[:4]) < 1e-11 < 2e-2 < max(full[:2])
    # log evidence - ELBO, a KL divergence: its rounding, seen 9e-11 and bounded by 1.4e-8, against 0.03 at least.
    assert abs(path[4]) < 2e-8 < 1e-2 < full[4]


# u = log shape and log mean lie below 8 and are rounded to 4.4e-16 at most; exp makes that relative, shape / mean and
# the exact posterior add four roundings: about 1.5e-15 from rounding alone. The rest of what is seen, 5.3e-15 at the
# worst, is distance the last steps did not cover; 1e-12 is the project's goal. exact_elbo.rounding bounds the rounding
# of the ELBO and the evidence; the KL of q is below 64 * 2000 * (1e-12)^2.
@pytest.mark.slow
def test_sticking_the_landing_is_exact_for_every_digit_floor_and_seed(record_property):
    tasks = list(product(range(10), range(10)))
    found = np.array(on_all_cores(fit_all_floors, tasks))                 # task, floor, figure
    worst = {}
    for i, name in enumerate(("shape", "rate", "mean", "sd", "gap over its rounding")):
        task, floor = np.unravel_index(np.argmax(found[..., i]), found.shape[:2])
        where = f"digit {tasks[task][0]}, floor {FLOORS[floor]}, seed {tasks[task][1]}"
        worst[name] = f"{found[task, floor, i]:.2e} ({where})"
    report(record_property, **worst)
    assert found[..., :4].max() <= 1e-12, worst
    assert found[..., 4].max() <= 1, worst


# The bound is the project's goal, for these ten seeds; the errors are the noise that the annealing leaves.
@pytest.mark.slow
def test_the_full_gradient_annealed_comes_within_four_percent(record_property):
    options = ANNEALED | {"gradient": "reparameterized"}
    found = np.array(on_all_cores(fit_zero, [(seed, options) for seed in range(10)]))
    worst = found.max(axis=0)
    report(record_property, shape=f"{worst[0]:.2e} (seed {found[:, 0].argmax()})",
           rate=f"{worst[1]:.2e} (seed {found[:, 1].argmax()})", mean=f"{worst[2]:.2e}", sd=f"{worst[3]:.2e}",
           gap=f"{worst[4]:.2e}")
    assert worst[:2].max() <= 4e-2, found


@pytest.mark.slow
def test_the_tutorials_settings_end_finite_from_every_seed(record_property):
    found = on_all_cores(fit_zero, [(seed, TUTORIAL) for seed in range(100)])
    finite = np.array([f for f in found if f is not None and np.all(np.isfinite(f))])
    low, median, high = np.quantile(finite, [0, 0.5, 1], axis=0)
    report(record_property, finite=f"{len(finite)} of 100", shape_and_rate_error_up_to=f"{high[:2].max():.2e}",
           evidence_minus_elbo=f"{low[4]:.3f} to {high[4]:.3f}, median {median[4]:.3f}")
    assert len(finite) == 100
    assert low[4] > 0                                                     # a KL divergence, far above rounding
