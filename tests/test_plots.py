"""The pictures hold the numbers they are meant to show."""

import re
from io import BytesIO

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from vi_ref import Gamma, PoissonGamma, datasets, fit, plots


@pytest.fixture(scope="module")
def model():
    return PoissonGamma(datasets.picture_prior(datasets.ring()), datasets.digit(0))


@pytest.fixture(scope="module")
def short(model):
    return fit(model, model.prior, n_steps=20, n_samples=4, rng=np.random.default_rng(0), keep_every=5)


def test_prior_dialled_down_shows_the_posterior_means_and_weights(model):
    counts = datasets.digit(0)
    figure = plots.prior_dialled_down(model.prior, counts, sizes=(0, 2, 178))
    images = [axes.images[0].get_array() for axes in figure.axes if axes.images]
    for image, m in zip(images, (0, 2, 178), strict=True):
        expected = (model.prior.shape + counts[:m].sum(axis=0)) / (2 + m)
        np.testing.assert_allclose(np.ravel(image), expected, rtol=1e-15)
    assert [axes.get_title() for axes in figure.axes if "weight" in axes.get_title()] == [
        "weight of prior 100 %", "weight of prior 50 %", "weight of prior 1 %"]


def test_elbo_ascent_draws_each_moment_and_the_truth(model, short):
    left, right = plots.elbo_ascent(model, short, pixel=12, steps=(0, 5, 20)).axes
    labels = [line.get_label() for line in left.lines]
    assert labels == ["q after 0 steps", "q after 5 steps", "q after 20 steps", "exact posterior"]
    theta, density = left.lines[-1].get_data()
    exact = Gamma(model.posterior.shape[12], model.posterior.rate[12])
    np.testing.assert_allclose(density, np.exp(exact.log_prob(theta)), rtol=1e-12)
    np.testing.assert_array_equal(right.lines[0].get_ydata(), short.trace.elbo[:10])


def test_posterior_check_shows_the_error_of_every_pixel(model, short):
    figure = plots.posterior_check(model, short.q)
    error = np.maximum(abs(short.q.shape / model.posterior.shape - 1), abs(short.q.rate / model.posterior.rate - 1))
    shown = next(axes for axes in figure.axes if "error" in axes.get_title()).images[0].get_array()
    np.testing.assert_allclose(np.ravel(shown), np.log10(error), rtol=1e-12)


def test_posterior_check_of_a_plain_table():
    model = PoissonGamma(Gamma(1.0, 1.0), [[3, 0, 2], [5, 1, 2]])
    figure = plots.posterior_check(model, model.prior, pixels=(0, 2))
    assert [axes.get_title() for axes in figure.axes[:2]] == ["column 0", "column 2"]
    error = abs(model.prior.shape / model.posterior.shape - 1)
    np.testing.assert_allclose(figure.axes[2].lines[0].get_ydata(), error, rtol=1e-15)


def test_generated_shows_the_same_draws_for_the_same_seed(model):
    images = [[np.array(axes.images[0].get_array()) for axes in
               plots.generated(model.posterior, datasets.digit(0), np.random.default_rng(3)).axes] for _ in range(2)]
    np.testing.assert_array_equal(images[0], images[1])
    assert len(images[0]) == 16
    np.testing.assert_array_equal(np.ravel(images[0][0]), datasets.digit(0)[0])
    assert not np.array_equal(images[0][8], images[0][9])


def test_parameter_error_draws_each_fit(model, short):
    axes = plots.parameter_error(model, {"a": short}).axes[0]
    step, error = axes.lines[0].get_data()
    np.testing.assert_array_equal(step, [0, 5, 10, 15, 20])
    worst = max(np.max(abs(model.prior.shape / model.posterior.shape - 1)),
                np.max(abs(model.prior.rate / model.posterior.rate - 1)))
    assert error[0] == worst


def test_the_drawn_prior_and_examples_show_their_pictures(model):
    figure = plots.drawn_prior(model.prior)
    np.testing.assert_allclose(np.ravel(figure.axes[0].images[0].get_array()), datasets.ring(), rtol=1e-15)
    shown = [np.ravel(axes.images[0].get_array()) for axes in plots.examples(datasets.digit(0)).axes]
    np.testing.assert_array_equal(shown, datasets.digit(0)[:16])


def test_saved_files_are_the_same_for_the_same_figure(model, tmp_path):
    for name in ("a.png", "b.png"):
        plots.save(plots.drawn_prior(model.prior), tmp_path / name)
    assert (tmp_path / "a.png").read_bytes() == (tmp_path / "b.png").read_bytes()


def test_a_player_holds_each_frame_once_needs_no_server_and_is_described():
    drawn = []

    def picture(k):
        drawn.append(k)
        figure = Figure(figsize=(1, 1))
        figure.subplots().plot([0, k])
        return figure

    html = plots.player(picture, 3, alt='a line, "rising"', seconds=0.25).html
    frames = re.findall(r'frames\[\d\] = "data:image/png;base64,([^"]+)"', html)
    assert drawn == [0, 1, 2] and len(set(frames)) == 3
    assert "http" not in html and 'class="fa ' not in html
    assert html.count("<img alt=") == html.count("<img ") == 1 and "a line, &quot;rising&quot;" in html
    assert re.search(r"new Animation\(frames, img_id, slider_id, 250", html)


@pytest.mark.parametrize("n_frames, shown", [(1, [0]), (2, [0, 1]), (3, [0, 1, 2]), (6, [0, 3, 5])])
def test_a_player_gives_paper_its_first_middle_and_last_frame_with_its_description(n_frames, shown):
    def picture(k):
        figure = Figure(figsize=(1, 0.5), facecolor=(k / 5, 0, 0))
        figure.subplots().set_axis_off()
        return figure

    player = plots.player(picture, n_frames, alt="θ, darker and darker")
    paper = Image.open(BytesIO(player._repr_png_()))
    assert paper.size == (100, 50 * len(shown)) and paper.text["Description"] == "θ, darker and darker"
    assert [paper.getpixel((50, 50 * i + 25))[0] for i in range(len(shown))] == [51 * k for k in shown]
    assert player._repr_html_() == player.html and "png" not in repr(player)


@pytest.mark.parametrize("arguments, message", [
    ({"n_frames": 0}, "n_frames must be a whole number of at least 1, got 0"),
    ({"n_frames": 2, "seconds": 0.0}, "seconds must be in (0, inf), got 0.0"),
])
def test_a_player_without_frames_or_time_is_refused_before_anything_is_drawn(arguments, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        plots.player(lambda k: pytest.fail("drawn"), alt="", **arguments)
