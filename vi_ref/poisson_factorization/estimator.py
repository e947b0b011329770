"""Poisson factorisation as scikit-learn's decompositions are: fit, transform, and a posterior besides."""

import warnings
from collections.abc import Callable
from dataclasses import replace
from numbers import Integral
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_array
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from vi_ref._validate import between, one_of, require, whole
from vi_ref.density import _generator
from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization import cavi, marginal, predictive, stochastic, sweep
from vi_ref.poisson_factorization.cavi import Factorization, Prior, Side

Array = NDArray[np.float64]

_FIRST = 20                    # sweeps that choose among starts, sweeps or batches before a prior is learned
_OF_NEW_ROWS = {"n_sweeps": 1000, "tol": 1e-6}
_OF_A_BATCH = {"n_sweeps": 100, "tol": 1e-3}           # as LatentDirichletAllocation: it is one of many


class PoissonFactorization(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    """Counts as sums of a few causes: x_id ~ Poisson(sum_k theta_ik phi_dk), gamma priors on theta and phi.

    Fitted, it holds a gamma of each activation theta_ik and of each entry phi_dk of the components. Their product
    approximates the posterior and is close to a local maximum of the ELBO. Work and memory are those of the non-zeros
    and of the factors: a sparse table is never made dense.

    Parameters
    ----------
    n_components : int
        K.
    method : {"cavi", "gradient"}
        Coordinate ascent on the ELBO in which each count is shared out among the causes; or, from where that ends, Adam
        on the higher ELBO in which the shares are summed out, by `marginal.fit_gradient`.
    activation_shape, component_shape : float
        The priors' shapes, of theta_ik and of phi_dk. Below 1 most entries are close to 0.
    activation_rate, component_rate : float or None
        The priors' rates. What is None is set so that the table's mean count is K times the product of both shape /
        rate; if both are None, with the same shape / rate for theta and for phi. A table whose total is below 1 is
        taken to hold one count.
    prior : {"fixed", "hierarchical", "learned"}
        The two gammas as they are given; or each row and each column with a rate of its own, whose mean is the rate
        given (Gopalan, Hofman & Blei 2013), for tables whose rows and columns differ in activity; or the activations'
        shape and rate for each component by empirical Bayes, from the values given.
    spread : float
        Of the hierarchical prior: the shape s of the gamma of a row's own rate. The smaller, the more they may differ;
        up to 1, what the prior expects of a new row has no finite mean.
    max_iter : int
        At most so many sweeps over the table.
    tol : float
        It ends where the ELBO rises by less than `tol` of its size a sweep.
    evaluate_every : int
        Sweeps from one look at the ELBO to the next.
    n_init : int
        Of so many random starts the one with the highest ELBO after 20 sweeps goes on.
    n_samples, n_steps : int
        Of the gradient method: Monte Carlo samples a step, and steps.
    n_draws : int
        Importance samples for each row that `score_samples` scores; two fifths as many sweeps of a Gibbs sampler find
        out where to draw them.
    total_samples : float or None
        Of `partial_fit`: how many rows the whole table has; None for those seen so far.
    learning_decay, learning_offset : float
        Of `partial_fit`: batch t moves the components by (t + learning_offset)^(-learning_decay) of the way.
    warm_start : bool
        Whether `fit` begins where the last one ended.
    n_jobs : int or None
        Threads, counted as joblib does; None for one a processor where there is work for them. The result is the same,
        bit for bit, whatever their number.
    random_state : int, numpy.random.RandomState or None
        Of the start and of the gradient method's samples; also seeds what `score_samples` draws.
    verbose : int
        Whether to print sweep and ELBO at each look.

    Attributes
    ----------
    components_ : ndarray of shape (n_components, n_features)
        Posterior means of the components.
    n_components_ : int
    activation_posterior_ : Gamma of shape (n_rows, n_components)
        Of the rows that `fit` saw. It is what `transform` gives for them as far as the fit has converged.
    component_posterior_ : Gamma of shape (n_features, n_components)
    activation_prior_, component_prior_ : cavi.Prior
        The priors used; a learned one has a shape and a rate for each component.
    elbo_ : float
        Lower bound of the log probability of the table, in nats; with the gradient method a Monte Carlo estimate.
    elbo_trace_ : ndarray
        The ELBO at each look, from that of the start to ``elbo_``; with the gradient method its estimate at each step.
    n_iter_ : int
        Sweeps, or steps of the gradient method; 0 if there was no `fit`.
    converged_ : bool
        Whether coordinate ascent has met `tol`.
    n_batch_iter_ : int
        Batches that `partial_fit` saw since the last `fit`.
    n_samples_seen_ : int
        Rows of the last `fit` and of `partial_fit` since.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where the columns had names.

    Notes
    -----
    Like scikit-learn's NMF it takes any non-negative numbers, with x! = Gamma(x + 1).

    The ELBO has many maxima. On scikit-learn's digits, K = 10, single starts ended 0.006 nats a count apart, and the
    default `tol` stopped 0.0005 nats a count below where 500 sweeps led, after some 200.

    Intervals from these gammas are too narrow as a rule: so the mean field is.

    After `partial_fit`, what `fit` had found out about its own rows is gone: ``activation_posterior_``, ``elbo_``,
    ``elbo_trace_`` and ``converged_``.

    Examples
    --------
    Two causes, one behind the first two columns, one behind the others:

    >>> counts = [[9, 5, 0, 0], [7, 3, 0, 1], [0, 0, 8, 4], [0, 1, 6, 3], [4, 2, 6, 2]]
    >>> model = PoissonFactorization(n_components=2, random_state=0).fit(counts)
    >>> shares = model.components_ / model.components_.sum(axis=1, keepdims=True)
    >>> shares[shares[:, 0].argsort()].round(1)
    array([[0. , 0. , 0.6, 0.3],
           [0.6, 0.3, 0. , 0. ]])
    >>> model.inverse_transform(model.transform([[8, 4, 0, 0]])).round(1)
    array([[7.4, 3.7, 0.3, 0.6]])
    >>> model.sample(3, random_state=0).shape
    (3, 4)
    """

    def __init__(self, n_components: int = 10, *, method: str = "cavi", activation_shape: float = 0.3,
                 activation_rate: float | None = None, component_shape: float = 0.3,
                 component_rate: float | None = None, prior: str = "hierarchical", spread: float = 1.0,
                 max_iter: int = 500, tol: float = 1e-5, evaluate_every: int = 10, n_init: int = 3,
                 n_samples: int = 8, n_steps: int = 1000, n_draws: int = 1000, total_samples: float | None = None,
                 learning_decay: float = 0.7, learning_offset: float = 10.0, warm_start: bool = False,
                 n_jobs: int | None = None, random_state: Any = None, verbose: int = 0):
        self.n_components = n_components
        self.method = method
        self.activation_shape = activation_shape
        self.activation_rate = activation_rate
        self.component_shape = component_shape
        self.component_rate = component_rate
        self.prior = prior
        self.spread = spread
        self.max_iter = max_iter
        self.tol = tol
        self.evaluate_every = evaluate_every
        self.n_init = n_init
        self.n_samples = n_samples
        self.n_steps = n_steps
        self.n_draws = n_draws
        self.total_samples = total_samples
        self.learning_decay = learning_decay
        self.learning_offset = learning_offset
        self.warm_start = warm_start
        self.n_jobs = n_jobs
        self.random_state = random_state
        self.verbose = verbose

    def fit(self, X: Any, y: Any = None) -> "PoissonFactorization":
        """Fit to a table, forgetting what was seen before unless `warm_start` is set.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
            Non-negative numbers, up to 1e100 in total.
        y : ignored

        Raises
        ------
        ValueError
            If the table or a parameter is outside its domain.
        """
        again = self.warm_start and hasattr(self, "components_")
        counts = self._table(X, reset=not again)
        self._check_parameters(again)
        rng, n_threads = _generator(self.random_state), sweep.threads(counts.nnz, self.n_jobs)
        begun = self._former(counts, n_threads) if again else self._start(counts, rng, n_threads)
        done, trace, begin = begun.n_sweeps, begun.elbo, [self._learning(begun)]
        del begun                                            # popped, the start's arrays go when they are left behind
        ended = cavi.factorize(counts, begin.pop(), n_sweeps=self.max_iter - done, tol=self.tol,
                               look_every=self.evaluate_every, n_threads=n_threads, say=self._say(done))
        self.n_iter_, self.converged_ = done + ended.n_sweeps, ended.converged
        rows, columns, trace = ended.rows, ended.columns, np.concatenate([trace, ended.elbo[1:]])
        self.elbo_ = float(trace[-1])
        if self.tol > 0 and not ended.converged:
            warnings.warn(f"Maximum number of iterations {self.max_iter} reached. Increase it to improve convergence.",
                          ConvergenceWarning, stacklevel=2)
        if self.method == "gradient":
            rows, columns, trace = self._gradient(counts, (rows, columns), rng, n_threads)
        self.elbo_trace_, self.activation_posterior_ = trace, rows.q
        self._keep(rows.prior, columns)
        self._seed = int(rng.integers(2**63))
        self.n_samples_seen_, self.n_batch_iter_ = counts.shape[0], 0
        return self

    def partial_fit(self, X: Any, y: Any = None) -> "PoissonFactorization":
        """Move the components by one batch of rows, with stochastic coordinate ascent: see `stochastic.step`.

        The first batch of all sets the priors' rates that are None. A prior is learned from batch 21 on.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
        y : ignored
        """
        again = hasattr(self, "components_")
        counts = self._table(X, reset=not again)
        self._check_parameters(again)
        n_threads = sweep.threads(counts.nnz, self.n_jobs)
        if not again:
            rng, (prior, of_columns) = _generator(self.random_state), self._priors(counts)
            columns = cavi.start(counts, self.n_components, (prior, of_columns), rng)[1]
            self._seed, self.n_iter_, self.n_batch_iter_, self.n_samples_seen_ = int(rng.integers(2**63)), 0, 0, 0
        else:
            prior, columns = self.activation_prior_, self._columns
        self.n_batch_iter_ += 1
        self.n_samples_seen_ += counts.shape[0]
        learned = self.prior == "learned" and self.n_iter_ + self.n_batch_iter_ > _FIRST
        total = self.n_samples_seen_ if self.total_samples is None else self.total_samples
        rho = stochastic.rate(self.n_batch_iter_, self.learning_offset, self.learning_decay)
        moved = stochastic.step(counts, columns, prior._replace(learned=learned), total_rows=total, rho=rho,
                                **_OF_A_BATCH, n_threads=n_threads)
        self._keep(moved.prior, moved.columns)
        for of_the_fit in ("activation_posterior_", "elbo_", "elbo_trace_", "converged_"):
            vars(self).pop(of_the_fit, None)
        return self

    def transform(self, X: Any) -> Array:
        """Posterior means of the activations of rows, each by itself, given the components' posterior.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows, n_components)
        """
        check_is_fitted(self)
        counts = self._table(X, reset=False)
        return cavi.infer_rows(counts, self._columns, self.activation_prior_, **_OF_NEW_ROWS,
                               n_threads=sweep.threads(counts.nnz, self.n_jobs)).mean

    def inverse_transform(self, X: Any) -> Array:
        """Expected counts of rows with these activations: ``X @ components_``.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_components)
            Non-negative.

        Returns
        -------
        ndarray of shape (n_rows, n_features)
        """
        check_is_fitted(self)
        X = check_array(X, accept_sparse="csr", dtype=np.float64)
        check_non_negative(X, "PoissonFactorization.inverse_transform (input X)")
        if X.shape[1] != self.n_components_:
            raise ValueError(f"X must have a column for each of {self.n_components_} components, got {X.shape[1]}")
        return X @ self.components_

    def score_samples(self, X: Any) -> Array:
        """Log probability of each row as a new one, its activations and the components integrated out: see `marginal`.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        return self.marginal(X).log_p

    def marginal(self, X: Any) -> predictive.Marginal:
        """`score_samples` with its Monte Carlo standard error and the shape k-hat of its weights' tail, for each row.

        A row's draws depend on `random_state` at the fit and on the row alone: the same row always has the same score.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)

        Returns
        -------
        predictive.Marginal
        """
        check_is_fitted(self)
        counts = self._table(X, reset=False)
        whole("n_draws", self.n_draws, 2)
        return predictive.log_marginal(counts, self.activation_prior_, self._columns, self.n_draws,
                                       np.random.default_rng(self._seed), n_sweeps=max(2, 2 * self.n_draws // 5))

    def score(self, X: Any, y: Any = None) -> float:
        """Total of `score_samples`, as scikit-learn's KernelDensity has it.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
        y : ignored
        """
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.int64]:
        """New rows, independent draws of what `score_samples` scores: activations from the prior, components from q.

        With the hierarchical prior and `spread` up to 1 activations have no finite mean: some rows are very large.

        Parameters
        ----------
        n_samples : int
            At least 1.
        random_state : int, numpy.random.RandomState or None

        Returns
        -------
        ndarray of shape (n_samples, n_features)

        Raises
        ------
        ValueError
            If a rate drawn is above 9e18: its count is no 64-bit integer.
        """
        check_is_fitted(self)
        rng, counts = _generator(random_state), []
        for log_theta in _from_prior(self.activation_prior_, self.n_components_, whole("n_samples", n_samples, 1), rng):
            with np.errstate(over="ignore"):
                rates = np.exp(log_theta + self.component_posterior_.sample_log(1, rng)[0]).sum(axis=1)
            require("sampled rates", "at most 9e18, for counts to be 64-bit integers", rates, rates <= 9e18)
            counts.append(rng.poisson(rates))
        return np.array(counts)

    @property
    def _n_features_out(self) -> int:
        return self.n_components_

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def _table(self, X: Any, reset: bool) -> csr_array:
        """X as a sparse table of positive floats, each place once; X itself is not changed."""
        X = validate_data(self, X, accept_sparse="csr", dtype=np.float64, reset=reset)
        check_non_negative(X, "PoissonFactorization (input X)")
        counts = csr_array(X)
        if not (counts.has_canonical_format and np.all(counts.data)):
            counts = counts.copy()
            counts.sum_duplicates()
            counts.eliminate_zeros()
        total = np.asarray(counts.data.sum())
        require("X", "at most 1e100 in total", total, total <= 1e100)
        return counts

    def _check_parameters(self, again: bool) -> None:
        for name in ("n_components", "max_iter", "evaluate_every", "n_init", "n_samples", "n_steps", "n_draws"):
            whole(name, getattr(self, name), 2 if name == "n_draws" else 1)
        one_of("method", self.method, ("cavi", "gradient"))
        one_of("prior", self.prior, ("fixed", "hierarchical", "learned"))
        for name in ("activation_shape", "component_shape", "spread"):
            between(name, getattr(self, name), 0, np.inf)
        for name in ("activation_rate", "component_rate", "total_samples"):
            if getattr(self, name) is not None:
                between(f"{name}, where it is not None,", getattr(self, name), 0, np.inf)
        for name, high in (("tol", np.inf), ("learning_decay", 1), ("learning_offset", np.inf)):
            between(name, getattr(self, name), 0, high, "[]" if high == 1 else "[)")
        if self.n_jobs is not None and not (isinstance(self.n_jobs, Integral) and self.n_jobs):
            raise ValueError(f"n_jobs must be None or a whole number other than 0, got {self.n_jobs!r}")
        if again and self.n_components != self.n_components_:
            raise ValueError(f"n_components must be {self.n_components_} as before for the fit to go on, "
                             f"got {self.n_components}")

    def _priors(self, counts: csr_array) -> tuple[Prior, Prior]:
        """Of the rows' side and of the columns', neither yet learned."""
        level = np.sqrt(max(counts.data.sum(), 1.0) / counts.shape[0] / counts.shape[1] / self.n_components)
        means = [None if rate is None else shape / rate for shape, rate in (
            (self.activation_shape, self.activation_rate), (self.component_shape, self.component_rate))]
        theta, phi = (level if mine is None and other is None else level**2 / other if mine is None else mine
                      for mine, other in (means, means[::-1]))
        spread = self.spread if self.prior == "hierarchical" else None
        return (Prior(self.activation_shape, float(self.activation_shape / theta), spread),
                Prior(self.component_shape, float(self.component_shape / phi), spread))

    def _start(self, counts: csr_array, rng: np.random.Generator, n_threads: int) -> Factorization:
        """The best of some starts after some sweeps, or the only one after none, if nothing is chosen or learned."""
        first = min(_FIRST, self.max_iter) if self.n_init > 1 or self.prior == "learned" else 0
        starts = (cavi.start(counts, self.n_components, self._priors(counts), rng) for _ in range(self.n_init))
        begun = (cavi.factorize(counts, start, n_sweeps=first, look_every=self.evaluate_every, n_threads=n_threads,
                                say=self._say()) for start in starts)
        return max(begun, key=lambda fit: fit.elbo[-1])

    def _former(self, counts: csr_array, n_threads: int) -> Factorization:
        """Where the last fit ended, with the rows that belong to the components if there is another number of them."""
        prior, columns, former = self.activation_prior_, self._columns, getattr(self, "activation_posterior_", None)
        if former is not None and len(former.shape) == counts.shape[0]:
            rows = cavi.side(prior, former.shape.copy(), former.rate.copy(), n_threads)
        else:
            rows = cavi.infer_rows(counts, columns, prior, **_OF_NEW_ROWS, n_threads=n_threads)
        return cavi.factorize(counts, (rows, columns), n_sweeps=0, n_threads=n_threads, say=self._say())

    def _learning(self, begun: Factorization) -> tuple[Side, Side]:
        """Both sides, with the rows' prior learned from now on if it is to be."""
        prior = begun.rows.prior._replace(learned=self.prior == "learned")
        return replace(begun.rows, prior=prior), begun.columns

    def _say(self, done: int | None = None) -> Callable[[int, float], None]:
        """What to do at a look, from the beginning or after so many sweeps, the last of which was told."""
        def say(sweep: int, elbo: float) -> None:
            if self.verbose and (done is None or sweep > 0):
                print(f"sweep {(done or 0) + sweep}: ELBO {elbo:.10g}")
        return say

    def _gradient(self, counts: csr_array, begin: tuple[Side, Side], rng: np.random.Generator,
                  n_threads: int) -> tuple[Side, Side, Array]:
        rows, columns, trace = marginal.fit_gradient(counts, begin, n_steps=self.n_steps, n_samples=self.n_samples,
                                                     rng=rng, n_threads=n_threads)
        model = marginal.MarginalFactorization(counts, (rows.prior, columns.prior), self.n_components, n_threads)
        self.elbo_ = marginal.elbo_estimate(model, model.pack(rows, columns), self.n_draws, rng).value
        self.n_iter_ = self.n_steps
        return rows, columns, np.append(trace, self.elbo_)

    def _keep(self, prior: Prior, columns: Side) -> None:
        self._columns, self.component_posterior_ = columns, columns.q
        self.activation_prior_, self.component_prior_ = prior._replace(learned=False), columns.prior
        self.components_, self.n_components_ = columns.mean.T.copy(), columns.mean.shape[1]


def _from_prior(prior: Prior, n_components: int, n: int, rng: np.random.Generator) -> Array:
    """Draws of log theta of new rows, (n, K), each with a rate of its own if the prior has a spread."""
    shape, rate = (np.zeros(n_components) + part for part in (prior.shape, prior.rate))
    log_theta = Gamma(shape, rate).sample_log(n, rng)
    if prior.spread is None:
        return log_theta
    own = Gamma(prior.spread, prior.spread / prior.rate).sample_log(n, rng)
    return log_theta + np.log(prior.rate) - own[:, None]
