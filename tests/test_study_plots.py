"""The pictures of the studies hold the numbers they are meant to show."""

import numpy as np
import pytest

from vi_ref import Gamma, PoissonGamma, exact_elbo, study, study_dirichlet, study_fit, study_plots
from vi_ref.gradients import by_name


@pytest.fixture(scope="module")
def model():
    return PoissonGamma(Gamma([1.0], [1.0]), [[1], [0], [0]])


def test_gradient_noise_shows_every_variance(model):
    digit, sweep = study.compare(model, n_samples=3, replicates=3), study.shape_sweep(200, shapes=(0.1, 5.0))
    result = {"digit": digit, "shapes": sweep}
    left, right = study_plots.gradient_noise(result).axes
    labels = [tick.get_text() for tick in left.get_yticklabels()]
    assert labels == [label for label, row in digit["start"].items() if row is not None]
    for line, point in zip(left.lines[::2], digit, strict=False):
        seen = [digit[point][label]["variance"] for label in labels]
        np.testing.assert_array_equal(line.get_xdata(), [v for v in seen if v >= 1e-6])
    assert len(right.containers) == len(sweep["variance"])


def test_the_map_shows_what_is_asked_the_variance_at_both_ends_and_the_cost(model):
    digit = study.compare(model, n_samples=3, replicates=3)
    asked, noise, time = study_plots.estimator_map(digit).axes
    rows = [tick.get_text() for tick in asked.get_yticklabels()]
    assert rows == ["exact", *study_plots.MAPPED] and len({study.ESTIMATORS[label][0] for label in rows[1:]}) == 6
    functions = ["closed form", "log p", "its terms", "its slope"]
    assert [tick.get_text() for tick in asked.get_xticklabels()] == functions
    names = dict(zip(("log_joint", "log_joint_terms", "grad_log_joint"), functions[1:], strict=True))
    dots = {(round(y), functions[round(x)]) for line in asked.lines for x, y in line.get_xydata()}
    assert dots == {(0, "closed form")} | {(place, names[function]) for place, label in enumerate(rows[1:], start=1)
                                           for function in digit["optimum"][label]["asked"]}
    cost = study.relative_times(digit)
    for place, label in enumerate(rows[1:], start=1):
        between, ring, filled = (line for line in noise.lines if np.ravel(line.get_ydata())[0] == place)
        ends = [max(digit[point][label]["variance"], 1e-6) for point in ("start", "optimum")]
        assert list(between.get_xdata()) == ends
        assert (ring.get_xdata()[0], ring.get_markerfacecolor(), filled.get_xdata()[0]) == (ends[0], "white", ends[1])
        assert (filled.get_marker() == "<") == (ends[1] == 1e-6)
        assert time.lines[place - 1].get_xdata()[0] == cost[label]
        assert time.texts[place - 1].get_text() == f"{digit['optimum'][label]['evaluations']:.0f}"


def test_naesseth_shows_both_mean_squares_and_marks_the_zero_on_the_edge():
    result = study_dirichlet.naesseth(shapes=(1.01, 2.0, 3.0), n=500)
    axes = study_plots.naesseth(result).axes[0]
    lines = {line.get_label(): (line, marks) for line, marks in zip(axes.lines[::2], axes.lines[1::2], strict=False)
             if not line.get_label().startswith("_")}
    floor = axes.get_ylim()[0]
    for label, values in result["log_joint"].items():
        shown = np.array(values["mean_square"])
        np.testing.assert_array_equal(lines[label][0].get_ydata(), np.where(shown == 0, floor, shown))
        published = np.array(result["published"][label]["mean_square"])
        np.testing.assert_array_equal(lines[label][1].get_ydata(), published[published > 0])
    assert next(iter(lines)) == "score" and list(lines)[-2:] == ["implicit", "sticking the landing"]
    triangles = [line.get_xydata().tolist() for line in axes.lines if line.get_marker() == "v"]
    assert [[2.0, floor]] in triangles
    assert "exactly 0" in [text.get_text().strip() for text in axes.texts]


def test_fit_error_draws_each_median_and_lists_the_worst_first(model):
    result = study_fit.errors(model, rows=8, n_steps=4, seeds=3)
    figure = study_plots.fit_error(result)
    ends = []
    for line in figure.axes[0].lines:
        fits = result["fits"][line.get_label()]
        np.testing.assert_array_equal(line.get_xydata(), np.transpose([fits["rows"], fits["median"]]))
        ends.append(fits["median"][-1])
    assert len(ends) == len(study_fit.LABELS) and ends == sorted(ends, reverse=True)


@pytest.mark.parametrize("q", [Gamma([1.2], [1.5]), Gamma([2.0], [4.0])], ids=["on the way", "posterior"])
def test_clouds_are_the_estimates_of_each_gradient_estimator(model, q):
    panels = study_plots.gradient_clouds(model, q, reach=3.0, n_samples=2, replicates=30, seed=4).axes
    assert [axes.get_title() for axes in panels] == list(study_plots.CLOUDS)
    for axes, name in zip(panels, ("score_function", "generalized_reparameterization", "reparameterized",
                                   "sticking_the_landing"), strict=True):
        *_, cloud, exact = axes.lines
        rng = np.random.default_rng(4)
        truth = np.array([np.ravel(by_name(name)(model, q, 2, rng)[1:]) for _ in range(30)])
        np.testing.assert_array_equal(cloud.get_xydata(), truth)
        np.testing.assert_array_equal(exact.get_xydata(), [np.ravel(exact_elbo.gradient(model, q))])
        outside = np.mean((np.abs(truth) > 3).any(axis=1))
        assert [text.get_text() for text in axes.texts] == [f"{outside:.0%} outside"] * int(outside > 0)
    landed = q.rate[0] == 4.0
    assert np.all(truth == 0) == landed                                  # sticking the landing, the last
