"""Adam against the paper's equations at 50 digits, against other libraries, and by its invariances.

``python tests/test_adam.py`` writes ``adam_trajectory.csv``, the frozen trajectory, with torch.
"""

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mpmath import mp

from vi_ref import Adam
from vi_ref.adam import AdamState
from vi_ref.compare._process import adapter, missing
from vi_ref.compare.scorecard import ADAM
from vi_ref.compare.scorecard import adam_gradients as gradients

FROZEN = Path(__file__).with_name("adam_trajectory.csv")
SETTINGS = ADAM
UNIT = 2.0**-53


def ours(grads, adam, scales=None):
    x, state, path = np.zeros(grads.shape[1]), adam.init(np.zeros(grads.shape[1])), []
    for t, g in enumerate(grads):
        x, state = adam.update(x, g, state, 1.0 if scales is None else scales[t])
        path.append(x)
    return np.array(path)


def assert_follows(path, other):
    # 1e-14 of the trajectory's own scale, each coordinate apart. 5000 additions to x, each rounded by at most
    # 1.1e-16 of it with a random sign (70 in all), come to 8e-15 had x its largest value throughout; seen: 3.4e-16.
    assert np.all(np.abs(path - other).max(axis=0) <= 1e-14 * np.abs(other).max(axis=0))


def test_follows_the_papers_equations_at_50_digits():
    adam, grads, steps = Adam(**SETTINGS), gradients(60), [1.0, 0.5, 2.0] * 20
    path = ours(grads, adam, steps)
    with mp.workdps(50):
        lr, b1, b2, eps = (mp.mpf(SETTINGS[k]) for k in ("learning_rate", "beta1", "beta2", "epsilon"))
        for d in range(grads.shape[1]):
            x, m, v, budget = mp.mpf(0), mp.mpf(0), mp.mpf(0), 0.0
            for t, g in enumerate(map(mp.mpf, grads[:, d]), start=1):
                m, v = b1 * m + (1 - b1) * g, b2 * v + (1 - b2) * g**2
                m_hat, v_hat = m / (1 - b1**t), v / (1 - b2**t)
                x -= lr * steps[t - 1] * m_hat / (mp.sqrt(v_hat) + eps)
                # Rounding beta^t, by an ulp of pow, moves 1 - beta^t by 2 units; the square root halves that for v.
                # Another 12 roundings: m and v forget theirs, of which m has 10 in memory, sized as its largest
                # term (|m| <= sum of b1^k |g| is at most max |g|), and each step ends with x - step.
                largest = float(max(abs(grads[:t, d])) / (mp.sqrt(v_hat) + eps)) if v_hat else 0.0
                moved = float(lr) * steps[t - 1] * largest
                budget += UNIT * (moved * (2 / (1 - 0.9**t) + 1 / (1 - 0.995**t) + 3 * 10 + 12) + abs(float(x)))
                assert abs(path[t - 1, d] - x) <= budget, (t, d)


@pytest.mark.parametrize("library", ["PyTorch", "JAX", "NumPyro"])
def test_follows_other_libraries(library):
    if library in missing():
        pytest.skip(f"{library}: {missing()[library]}")
    grads = gradients(5000)
    path = adapter(library).adam(grads, **SETTINGS)
    assert path.dtype == np.float64
    assert_follows(ours(grads, Adam(**SETTINGS)), path)


def test_follows_the_frozen_trajectory():
    frozen = np.loadtxt(FROZEN, delimiter=",", comments="#")
    at, x = frozen[:, 0].astype(int), frozen[:, 1:]
    assert at[-1] == 5000
    assert_follows(ours(gradients(5000), Adam(**SETTINGS))[at - 1], x)


def test_update_leaves_its_arguments_alone_and_the_state_cannot_be_changed():
    adam, grads = Adam(0.1), gradients(3)
    x, state = np.ones(6), adam.init(np.ones(6))
    for g in grads:
        before = [x.copy(), g.copy(), state.m.copy(), state.v.copy()]
        new_x, new_state = adam.update(x, g, state)
        again_x, again_state = adam.update(x, g, state)
        np.testing.assert_array_equal([x, g, state.m, state.v], before)
        np.testing.assert_array_equal([new_x, *new_state[1:]], [again_x, *again_state[1:]])
        assert new_state.step == state.step + 1 and not np.shares_memory(new_x, x)
        x, state = new_x, new_state
    with pytest.raises(AttributeError):
        state.step = 0
    with pytest.raises(AttributeError):
        adam.learning_rate = 1.0


@pytest.mark.parametrize("shape", [(), (3,), (2, 64)])
def test_init_is_zero_and_float_for_any_shape(shape):
    state = Adam().init(np.ones(shape, dtype=int))
    assert isinstance(state, AdamState) and state.step == 0
    for moment in (state.m, state.v):
        assert moment.shape == shape and moment.dtype == np.float64 and not moment.any()


# The first step is lr g / (|g| + eps): (1 - beta) cancels, within 6 roundings.
@settings(derandomize=True, deadline=None)
@given(st.floats(1e-100, 1e100), st.floats(1e-6, 10), st.floats(0, 0.9999), st.floats(0, 0.9999), st.booleans())
def test_the_first_step_is_the_learning_rate_whatever_the_gradients_size(g, lr, beta1, beta2, negative):
    g = -g if negative else g
    adam = Adam(lr, beta1, beta2, epsilon=1e-8)
    x, _ = adam.update(np.zeros(1), np.array([g]), adam.init(np.zeros(1)))
    expected = -lr * math.copysign(1 / (1 + 1e-8 / abs(g)), g)
    assert x[0] == pytest.approx(expected, rel=8 * UNIT)


# Powers of two leave every rounding as it was, so both equalities hold to the bit.
@settings(derandomize=True, deadline=None, max_examples=30)
@given(st.integers(-40, 40), st.integers(-8, 8))
def test_scaling_gradient_and_epsilon_changes_nothing_and_scaling_a_step_scales_it(power, step_power):
    grads, c, s = gradients(20), 2.0**power, 2.0**step_power
    path = ours(grads, Adam(0.1))
    np.testing.assert_array_equal(ours(c * grads, Adam(0.1, epsilon=c * 1e-8)), path)
    np.testing.assert_array_equal(ours(grads, Adam(0.1), np.full(20, s)), s * path)


@pytest.mark.parametrize("name", ["learning_rate", "beta1", "beta2", "epsilon"])
@pytest.mark.parametrize("value", [-0.1, math.nan, math.inf, "a", None])
def test_bad_settings_are_named(name, value):
    with pytest.raises(ValueError, match=f"^{name} must be in"):
        Adam(**{name: value})


@pytest.mark.parametrize("bad", [{"learning_rate": 0.0}, {"epsilon": 0.0}, {"beta1": 1.0}, {"beta2": 1.0}])
def test_the_ends_of_the_intervals_are_outside(bad):
    with pytest.raises(ValueError, match=f"^{next(iter(bad))} must be in"):
        Adam(**bad)
    assert Adam(beta1=0.0, beta2=0.0).beta1 == 0.0


def test_a_gradient_of_another_shape_is_refused():
    adam = Adam()
    with pytest.raises(ValueError, match=r"gradient must have the parameters' shape \(1,\), got \(3,\)"):
        adam.update(np.zeros(1), np.zeros(3), adam.init(np.zeros(1)))


if __name__ == "__main__":
    import torch

    kept = [1, 2, 3, 5, 10, 30, 100, 300, 1000, 2000, 3000, 4000, 5000]
    rows = np.column_stack([kept, adapter("PyTorch").adam(gradients(5000), **SETTINGS)[np.array(kept) - 1]])
    header = (f"torch.optim.Adam, torch {torch.__version__}, float64, {SETTINGS}, started at 0,\n"
              "fed adam_gradients(5000) of vi_ref/compare/scorecard.py; written by it (python tests/test_adam.py).\n"
              "step, then the six parameters after it")
    np.savetxt(FROZEN, rows, fmt=["%d"] + ["%.17g"] * 6, delimiter=",", header=header)
