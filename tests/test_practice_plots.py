"""The pictures of little data and of generation hold the numbers they are meant to show."""

import numpy as np
import pytest

from vi_ref import Gamma, practice_plots, study_generation, study_little_data


def test_little_data_shows_every_gain_and_both_shares():
    result = study_little_data.scores([20, 50, 150], n_splits=2)
    left, right = practice_plots.little_data(result).axes
    found = {bars.get_label(): bars for bars in left.containers}
    names = {"ring": "drawn ring, as two examples", "20 zeros": "20 other zeros, as two examples",
             "pooled": "one prior fitted to all pixels", "add 1/2": "no prior: (total + ½) / m"}
    assert set(found) == set(names.values())
    for label, name in names.items():
        line, _, (bars,) = found[name].lines
        gain = study_little_data.differences(result, label, ["flat"])["flat"]
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([[20, 50, 150], gain["mean"]]))
        # the ends are mean -+ half, of numbers up to 2: a few eps
        halves = [np.ptp(segment[:, 1]) / 2 for segment in bars.get_segments()]
        np.testing.assert_allclose(halves, 1.96 * np.array(gain["error"]), rtol=0, atol=1e-14)
    for line, part in zip(right.lines, ("sets", "images"), strict=True):
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([[20, 50, 150], result["impossible"][part]]))
    assert all(axes.get_xscale() == "log" for axes in (left, right))


def test_real_and_synthetic_digits_have_a_column_each():
    real, synthetic = study_generation.generate(n=2, m=20)
    figure = practice_plots.real_and_synthetic(real, synthetic)
    for part, images, title in zip(figure.subfigs, (real, synthetic), ("real, held out", "synthetic"), strict=True):
        assert part.get_suptitle() == title
        shown = np.array([axes.images[0].get_array().ravel() for axes in part.axes]).reshape(2, 10, 64)
        np.testing.assert_array_equal(shown, images.swapaxes(0, 1))
        assert {axes.images[0].get_clim() for axes in part.axes} == {(0, 16)}


@pytest.fixture(scope="module")
def sources():
    return study_generation.variances(1, sizes=(1, 10, 100), shuffles=2)


def test_variance_sources_stacks_the_two_and_shows_the_real_ones(sources):
    left, _ = practice_plots.variance_sources(sources).axes
    noise, m = np.array(sources["noise"]), np.array(sources["size"])
    total = noise + sources["uncertainty"]
    for area, low, high in zip(left.collections, (0 * noise, noise), (noise, total), strict=True):
        (path,) = area.get_paths()
        corners = {tuple(point) for point in path.vertices}
        assert corners == {*zip(m, low, strict=True), *zip(m, high, strict=True)}
    predicted, error, real = left.lines
    np.testing.assert_array_equal(predicted.get_ydata(), total)
    np.testing.assert_array_equal(error.get_ydata(), sources["error"])
    assert set(real.get_ydata()) == {sources["real"]}


def test_variance_sources_shows_each_pixel_on_its_side(sources):
    _, right = practice_plots.variance_sources(sources).axes
    _, above, below = right.lines
    pixels = np.transpose([sources["pixel_predicted"], sources["pixel_real"]])
    more = pixels[:, 1] > pixels[:, 0]
    np.testing.assert_array_equal(above.get_xydata(), pixels[more])
    np.testing.assert_array_equal(below.get_xydata(), pixels[~more])
    assert [text.get_text() for text in right.get_legend().get_texts()] == [f"{more.sum()} above",
                                                                            f"{64 - more.sum()} not above"]


def test_variance_maps_shows_the_two_sources_and_the_real_variance_on_one_scale():
    q = Gamma(np.linspace(0.5, 32, 64), 4.0)
    images = np.random.default_rng(0).poisson(5, (9, 64))
    figure = practice_plots.variance_maps(q, images)
    shown = ((q.mean, "model: Poisson noise, 260.0"), (q.variance, "model: uncertainty about θ, 65.0"),
             (images.var(axis=0, ddof=1), f"between real images, {images.var(axis=0, ddof=1).sum():.1f}"))
    for axes, (values, title) in zip(figure.axes, shown, strict=False):              # the last is the colour bar
        np.testing.assert_array_equal(axes.images[0].get_array().ravel(), values)
        assert axes.get_title() == title and axes.images[0].get_clim() == (0, 20)
