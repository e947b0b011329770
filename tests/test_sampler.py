"""The sampler: its bits against the published ones, its draws against the distributions they should have."""

import math

import numpy as np
import pytest
from mpmath import mp
from numba import njit
from scipy.special import gammainc, gammaln, ndtr, polygamma, psi

from vi_ref import Gamma, kernels, sampler

SHAPES = [1e-3, 0.1, 0.9, 1.0, 1.5, 7.0, 100.0, 1e6]
K_ERRORS = 5.0                                            # a normal z is beyond once in 1.7e6
WORST_KS = math.sqrt(math.log(2 / 1e-6) / 2)              # sqrt(n) times the distance is beyond with probability 1e-6


@njit
def _bits(state, out):
    s0, s1, s2, s3 = state
    for i in range(out.size):
        out[i], s0, s1, s2, s3 = sampler.next_bits(s0, s1, s2, s3)


@njit
def _uniforms(state, out):
    s0, s1, s2, s3 = state
    for i in range(out.size):
        out[i], s0, s1, s2, s3 = sampler.uniform(s0, s1, s2, s3)


@njit
def _normals(state, out):
    s0, s1, s2, s3 = state
    for i in range(out.size):
        out[i], s0, s1, s2, s3 = sampler.normal(s0, s1, s2, s3)


@njit
def _tails(state, x, out):
    s0, s1, s2, s3 = state
    for i in range(out.size):
        _, out[i], s0, s1, s2, s3 = sampler._at_the_curve(np.uint64(0), x[i], s0, s1, s2, s3)


def state(seed=0):
    return sampler.streams(1, np.random.default_rng(seed))[0]


def distance(u):
    """Kolmogorov's between numbers that should be uniform and the uniform distribution, times sqrt(n)."""
    u, place = np.sort(u), np.arange(u.size + 1) / u.size
    return math.sqrt(u.size) * max(np.max(place[1:] - u), np.max(u - place[:-1]))


def test_bits_are_those_of_the_reference():
    """Of the state (1, 2, 3, 4), as the authors' C code gives them and other implementations test them."""
    out = np.empty(6, np.uint64)
    _bits(np.array([1, 2, 3, 4], np.uint64), out)
    assert out.tolist() == [41943041, 58720359, 3588806011781223, 3591011842654386, 9228616714210784205,
                            9973669472204895162]


def test_streams_are_drawn_from_the_generator():
    one, again = (sampler.streams(3, np.random.default_rng(4)) for _ in range(2))
    np.testing.assert_array_equal(one, again)
    assert one.dtype == np.uint64 and one.shape == (3, 4) and np.unique(one).size == 12
    assert 0.3 < np.mean(np.unpackbits(sampler.streams(1000, np.random.default_rng(0)).view(np.uint8))) < 0.7


def test_uniforms_are_inside_the_interval():
    for bits, value in ((0, 2.0**-53), (2**64 - 1, 1 - 2.0**-53)):
        # the next word out of a state is rotl(s0 + s3, 23) + s0: with s0 = 0 and s3 = bits all zeros or all ones
        out = np.empty(1)
        _uniforms(np.array([0, 1, 1, bits], np.uint64), out)
        assert out[0] == value


def test_ziggurat_has_layers_of_one_area_and_ends_at_the_top():
    """The area is of rounding's size relative to itself: each layer multiplies and subtracts numbers below 4."""
    x, f = sampler._WIDTH, sampler._HEIGHT
    with mp.workdps(30):
        start = mp.mpf(sampler._START)
        area = float(start * mp.exp(-start**2 / 2) + mp.sqrt(mp.pi / 2) * mp.erfc(start / mp.sqrt(2)))
    assert len(x) == sampler._LAYERS + 1 and x[1] == sampler._START and x[-1] == 0 and np.all(np.diff(x) < 0)
    assert x[0] * f[1] == pytest.approx(area, rel=1e-15)
    # the last one too, from x_255 up to 1, which holds for one start; f(x_i+1) - f(x_i) rounds by 2^-53 in each layer
    np.testing.assert_allclose(x[1:-1] * np.diff(f[1:]), area, rtol=256 * 2.0**-53 * 3.7 / area)


def normal_distance(n):
    x = np.empty(n)
    _normals(state(), x)
    z = [np.mean(x) * math.sqrt(n), (np.mean(x**2) - 1) * math.sqrt(n / 2), np.mean(x**3) * math.sqrt(n / 15),
         (np.mean(x**4) - 3) * math.sqrt(n / 96)]
    return distance(ndtr(x)), np.abs(z).max(), x


def test_normals_are_normal():
    """10^6: a distribution function off by 2.7e-3 is seen; of the first four moments 5e-3, 7e-3, 0.02 and 0.05."""
    d, z, _ = normal_distance(10**6)
    assert d <= WORST_KS and z <= K_ERRORS


def test_the_tail_is_normal_and_keeps_its_side():
    """What layer 0 gives where its rectangle does not: 200 000 of them, off by 6e-3 is seen."""
    sides, out = np.random.default_rng(1).choice([-1.0, 1.0], 200_000), np.empty(200_000)
    _tails(state(), sides, out)
    assert np.all(out * sides > sampler._START)
    assert distance(ndtr(-np.abs(out)) / ndtr(-sampler._START)) <= WORST_KS


@pytest.mark.slow
def test_ten_million_normals_are_normal():
    """A distribution function off by 8.5e-4 is seen."""
    d, z, _ = normal_distance(10**7)
    print(f"sqrt(n) times Kolmogorov's distance {d:.2f}, allowed {WORST_KS:.2f}; worst moment {z:.1f} standard errors")
    assert d <= WORST_KS and z <= K_ERRORS


def gamma_distances(shape, n):
    """Kolmogorov's distance of `n` draws, and the z of the mean and variance of log z and of z."""
    log_z = kernels.draws(Gamma([shape], [1.0]), n, np.random.default_rng(1))[:, 0]
    z = np.exp(log_z)
    with np.errstate(under="ignore", over="ignore"):
        small = shape * log_z - gammaln(shape + 1)        # log P(shape, z) to a relative z shape / (shape + 1)
        u = np.where(z < 1e-18, np.exp(small), gammainc(shape, z))
    scores = []
    for x, mean, variance, fourth in (
            (log_z, psi(shape), polygamma(1, shape), polygamma(3, shape) + 3 * polygamma(1, shape) ** 2),
            (z, shape, shape, 3 * shape**2 + 6 * shape)):
        scores += [(x.mean() - mean) / math.sqrt(variance / n),
                   (np.mean((x - mean) ** 2) - variance) / math.sqrt((fourth - variance**2) / n)]
    return distance(u), np.abs(scores).max()


@pytest.mark.parametrize("shape", SHAPES)
def test_draws_are_gamma(shape):
    """200 000: a distribution function off by 6e-3 is seen, a mean off by 0.011 sd.

    At shape 1e-3 few draws carry the variance of z (its fourth moment is 6000 variances^2), and the z of that is not
    quite normal; K_ERRORS stands all the same.
    """
    d, z = gamma_distances(shape, 200_000)
    assert d <= WORST_KS and z <= K_ERRORS


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
def test_ten_million_draws_are_gamma(shape):
    """A distribution function off by 8.5e-4 is seen, a mean off by 0.0016 sd."""
    d, z = gamma_distances(shape, 10**7)
    print(f"shape {shape:g}: sqrt(n) times Kolmogorov's distance {d:.2f}, allowed {WORST_KS:.2f}; worst moment {z:.1f}")
    assert d <= WORST_KS and z <= K_ERRORS


def test_columns_do_not_correlate():
    """100 columns of 1000: two correlate by 0 +- 0.032; that one of all 4950 does by 5.5 times that has chance 2e-4."""
    log_z = kernels.draws(Gamma(np.full(100, 3.0), 1.0), 1000, np.random.default_rng(2))
    correlation = np.corrcoef(log_z.T)[np.triu_indices(100, 1)]
    assert np.abs(correlation).max() * math.sqrt(1000) <= 5.5
    assert np.mean(correlation**2) * 1000 == pytest.approx(1, abs=K_ERRORS * math.sqrt(2 / 4950))
