"""The fast implicit gradient is the clear one: same values, ends of the domain, errors and broadcasting."""

import numpy as np
import pytest

from vi_ref import gamma_grad, gamma_grad_fast

CLEAR, FAST = 4e-15, 2e-15       # what the two modules promise, relative; their difference is at most the sum
RNG = np.random.default_rng(20)


def draws(shapes, n):
    """n draws of log z a shape: half from Gamma(shape, 1), half spread over its far tails."""
    shapes = np.asarray(shapes)
    z = RNG.standard_gamma(shapes + 1, (n // 2, shapes.size))
    own = np.log(z) - RNG.standard_exponential(z.shape) / shapes
    far = np.log(shapes + 0.1) + RNG.uniform(-30, 30, (n - n // 2, shapes.size)) / np.sqrt(shapes + 1)
    return np.concatenate([own, far])


@pytest.mark.parametrize(("low", "high"), [(1e-8, 1e-2), (1e-2, 1.0), (1.0, 13.0), (13.0, 300.0), (300.0, 1e10)])
def test_equals_the_clear_version_on_random_points(low, high):
    """25 600 points each, 128 000 in all; seen: at most 2.3e-15 apart."""
    shapes = np.exp(RNG.uniform(np.log(low), np.log(high), 100))
    log_z = draws(shapes, 256)
    fast, clear = (m.dlogz_dshape(shapes, log_z) for m in (gamma_grad_fast, gamma_grad))
    assert np.max(np.abs(fast / clear - 1)) <= CLEAR + FAST
    z = np.exp(np.clip(log_z, -700, 700))                # normal numbers: a subnormal z has too few bits to divide
    fast, clear = (m.dz_dshape(shapes, z) for m in (gamma_grad_fast, gamma_grad))
    assert np.max(np.abs(fast / clear - 1)) <= CLEAR + FAST


@pytest.mark.parametrize("shape", [1e-8, 0.3, 1.0, np.nextafter(12.0, 0), 12.0, np.nextafter(256.0, 0), 256.0, 1e10])
def test_borders_of_pieces_and_windows(shape):
    """Every edge between pieces of z, every border between regimes, and one ulp to each side."""
    edges = np.ravel(2.0 ** np.arange(-5, 10)[:, None] * (1 + np.arange(8) / 8))
    reach = min(1.2, 6 / np.sqrt(shape))                 # of the polynomials in x, at shapes from 12 on
    windows = shape * np.exp(np.array([-1.2, 1.2, -reach, reach]))
    z = np.concatenate([edges, windows])
    z = np.concatenate([np.nextafter(z, 0), z, np.nextafter(z, np.inf)])
    z = z[np.isfinite(z) & (z > 0)]
    difference = gamma_grad_fast.dz_dshape(shape, z) / gamma_grad.dz_dshape(shape, z) - 1
    assert np.max(np.abs(difference)) <= CLEAR + FAST


@pytest.mark.parametrize("shape", [5e-324, 1e-300, 1e-8, 0.5, 3.0, 11.0, 40.0, 1e6, 1e10, 1e200])
def test_ends_of_the_domain_are_those_of_the_clear_version(shape):
    z = np.array([0.0, 5e-324, 1e-310, 1e300, np.inf, np.nan, -np.nan])         # 0/0 has its sign bit set on x86
    log_z = np.array([-np.inf, -1e300, -800.0, 800.0, np.inf, np.nan, -np.nan])
    for name, argument in (("dz_dshape", z), ("dlogz_dshape", log_z)):
        fast, clear = (getattr(m, name)(shape, argument) for m in (gamma_grad_fast, gamma_grad))
        np.testing.assert_allclose(fast, clear, rtol=CLEAR + FAST)       # NaN matches NaN, infinity infinity


@pytest.mark.parametrize(("shape", "draws"), [
    ((), (7,)), ((1,), (7,)), ((3,), (5, 3)), ((2, 3), (4, 2, 3)), ((2, 3), (2, 3)), ((3,), (3,)), ((2, 1), (2, 5)),
    ((), ()), ((0,), (4, 0)), ((3,), (0, 3)), ((4,), ()),
])
def test_broadcasts_as_numpy_does(shape, draws):
    a, z = RNG.uniform(0.1, 40, shape), RNG.uniform(0.1, 40, draws)
    expected = gamma_grad.dz_dshape(a, z)
    result = gamma_grad_fast.dz_dshape(a, z)
    assert np.shape(result) == np.shape(expected)
    np.testing.assert_allclose(result, expected, rtol=CLEAR + FAST)
    strided = np.asarray(z)[..., ::-1] if draws else z
    np.testing.assert_allclose(gamma_grad_fast.dlogz_dshape(a, np.log(strided)),
                               gamma_grad.dlogz_dshape(a, np.log(strided)), rtol=CLEAR + FAST)


@pytest.mark.parametrize("shapes", [[3.0], [0.2, 3.0, 40.0, 500.0]])
def test_threads_give_the_same_bits(shapes):
    shapes = np.array(shapes)
    z = RNG.standard_gamma(shapes, (6 * gamma_grad_fast._CHUNK // shapes.size, shapes.size))
    one = gamma_grad_fast.dz_dshape(shapes, z, n_threads=1)
    for n in (2, 3, 5):
        np.testing.assert_array_equal(gamma_grad_fast.dz_dshape(shapes, z, n_threads=n), one)


def test_a_shape_of_nan_gives_nan():
    for module in (gamma_grad, gamma_grad_fast):
        result = module.dz_dshape([np.nan, 2.0], [[1.0, 1.0], [3.0, 3.0]])
        assert np.isnan(result).tolist() == [[True, False], [True, False]]


def test_integers_and_lists_are_taken():
    assert gamma_grad_fast.dz_dshape(2, [1, 2]).tolist() == gamma_grad_fast.dz_dshape(2.0, [1.0, 2.0]).tolist()


def test_arguments_are_left_as_they_are():
    a, z = np.array([2.0, 20.0]), RNG.uniform(1, 3, (4, 2))
    before = z.copy()
    gamma_grad_fast.dz_dshape(a, z)[:] = 0
    gamma_grad_fast.dlogz_dshape(a, z)[:] = 0
    np.testing.assert_array_equal(z, before)


def test_dp_is_the_clear_one():
    np.testing.assert_array_equal(gamma_grad_fast.dp_dshape(2.0, [1.0, 3.0]), gamma_grad.dp_dshape(2.0, [1.0, 3.0]))


@pytest.mark.parametrize(("call", "message"), [
    (lambda: gamma_grad_fast.dz_dshape([1.0, 0.0], 1.0), "shape must be positive and finite, got 0.0 at index 1"),
    (lambda: gamma_grad_fast.dz_dshape(-1.0, [1.0, 2.0]), "shape must be positive and finite, got -1.0"),
    (lambda: gamma_grad_fast.dz_dshape(1.0, [1.0, -2.0]), "z must be non-negative, got -2.0 at index 1"),
    (lambda: gamma_grad_fast.dlogz_dshape(np.inf, [1.0, 2.0]), "shape must be positive and finite, got inf"),
    (lambda: gamma_grad_fast.dlogz_dshape(1.0, ["a", "b"]), "log_z must be an array of real numbers"),
    (lambda: gamma_grad_fast.dz_dshape(1.0, [1.0, 2.0], n_threads=0), "n_threads must be a whole number of at least 1"),
])
def test_bad_input(call, message):
    with pytest.raises(ValueError, match=message.replace("(", r"\(")):
        call()
