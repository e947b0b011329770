"""The Poisson-gamma model as scikit-learn's density estimators are: fit, score, sample, and a posterior besides."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.sparse import issparse
from scipy.special import gammaln
from sklearn.base import BaseEstimator, DensityMixin
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, check_non_negative, validate_data

from vi_ref import empirical_bayes, exact_elbo
from vi_ref._validate import one_of, positive, require, whole
from vi_ref.gamma import Gamma
from vi_ref.negative_binomial import log_prob_ufunc
from vi_ref.optimize import fit
from vi_ref.poisson_gamma import PoissonGamma

Array = NDArray[np.float64]


class PoissonGammaDensity(DensityMixin, BaseEstimator):
    """Density of rows of counts: x_id ~ Poisson(theta_d), theta_d ~ Gamma(a_d, b_d), columns independent.

    Fitted, it holds the posterior of each column's rate, book eq. `eq-posterior`, and scores and samples rows by what
    that predicts, book eq. `eq-predictive`. A fit reads the table once and keeps its sufficient
    statistics, so `partial_fit` of any batches is the fit of all their rows. Tables may be
    dense or sparse; a sparse one is never made dense.

    Parameters
    ----------
    prior_shape, prior_rate : float or array_like of shape (n_features,)
        The prior, Gamma(shape, rate): shape / rate is the expected count, the rate says how many rows that is worth.
    empirical_bayes : {None, "pooled", "strength"}
        Whether the prior is chosen to make the column totals most probable. ``"pooled"``: one (shape, rate) for all
        columns, by `empirical_bayes.pooled`; the parameters above are not used. ``"strength"``: the expected
        counts prior_shape / prior_rate are kept, and one rate for all columns is found by `empirical_bayes.strength`.
        A prior for each column cannot be had: with its mean at T / m, a column's evidence grows for ever
        with the shape, its slope in log a being a [h(a + T) - h(a)] > 0, h(x) = psi(x) - log x.
    method : {"exact", "variational"}
        The closed-form posterior, or q fitted to it by `vi_ref.optimize.fit` with its defaults, started at the prior.
    n_samples, n_steps : int
        Of the variational fit: Monte Carlo samples a step, and steps.
    random_state : int, numpy.random.RandomState or None
        Of the variational fit. With an int each fit begins with the same random numbers.

    Attributes
    ----------
    prior_, posterior_, q_ : Gamma of shape (n_features,)
        The prior used, the exact posterior, and what predicts: the posterior or its variational approximation.
    log_evidence_, elbo_ : float
        Log probability of the table, and its lower bound at ``q_``, equal to it where that is the posterior.
    n_observations_ : int
        Rows seen, by all calls of `partial_fit` since `fit`.
    totals_ : ndarray of shape (n_features,)
        Column sums.
    n_iter_ : int
        Steps of the fit; 1 with the closed form.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (n_features,)
        Where the columns had names.

    Notes
    -----
    Like scikit-learn's MultinomialNB and NMF it takes any non-negative numbers, with x! = Gamma(x + 1). Of fractions
    the posterior is that of whole counts with the same totals, and scores compare models, but they
    are not densities that integrate to one.

    Examples
    --------
    >>> density = PoissonGammaDensity(prior_shape=2.0, prior_rate=1.0).fit([[3, 0], [5, 1]])
    >>> density.posterior_.mean
    array([3.33333333, 1.        ])
    >>> density.score_samples([[4, 0], [40, 0]]).round(3)
    array([ -2.713, -37.748])
    >>> low, high = density.credible_interval(0.9)
    >>> low.round(2), high.round(2)
    (array([1.81, 0.27]), array([5.24, 2.1 ]))
    >>> density.sample(3, random_state=0).shape
    (3, 2)
    """

    def __init__(self, prior_shape: ArrayLike = 1.0, prior_rate: ArrayLike = 1.0, *, empirical_bayes: str | None = None,
                 method: str = "exact", n_samples: int = 128, n_steps: int = 5000, random_state: Any = None):
        self.prior_shape = prior_shape
        self.prior_rate = prior_rate
        self.empirical_bayes = empirical_bayes
        self.method = method
        self.n_samples = n_samples
        self.n_steps = n_steps
        self.random_state = random_state

    def fit(self, X: Any, y: Any = None) -> "PoissonGammaDensity":
        """Fit to a table, forgetting what was seen before.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
            Non-negative numbers up to 1e100.
        y : ignored

        Raises
        ------
        ValueError
            If the table or a parameter is outside its domain, or empirical Bayes finds no prior (see there).
        """
        return self._update(X, first=True)

    def partial_fit(self, X: Any, y: Any = None) -> "PoissonGammaDensity":
        """Fit to a table and all seen since the last `fit`, from the accumulated sufficient statistics.

        However the rows are split, the result is that of one pass: of whole numbers to the bit, as far as sums stay
        below 2^53, but for the sum of log x!; this and sums of fractions to eps (512 + m / 2048) at worst, 1e-12
        for 8 million rows. Prior and q are found anew from all seen so far. Where this raises, nothing is changed.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
        y : ignored
        """
        return self._update(X, first=not hasattr(self, "posterior_"))

    def score_samples(self, X: Any) -> Array:
        """Log probability of each row as the next one: negative binomial in each column, book eq. `eq-predictive`.

        With the posterior for q it is exact: each column's term is off by a few eps of itself (see
        `negative_binomial.log_prob`). Of a sparse row it is that of a row of zeros, which is the same for all, and a
        correction for each entry, off by eps of the sizes of both.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)

        Returns
        -------
        ndarray of shape (n_rows,)
        """
        check_is_fitted(self)
        X, shape, rate = self._table(X, reset=False), self.q_.shape, self.q_.rate
        if not issparse(X):
            return log_prob_ufunc(X, shape, rate).sum(axis=1)
        X, blank = X.tocoo(), log_prob_ufunc(0.0, shape, rate)
        more = log_prob_ufunc(X.data, shape[X.col], rate[X.col]) - blank[X.col]
        return blank.sum() + np.bincount(X.row, more, minlength=X.shape[0])

    def score(self, X: Any, y: Any = None) -> float:
        """Total of `score_samples`, as scikit-learn's KernelDensity has it.

        Parameters
        ----------
        X : array_like or sparse of shape (n_rows, n_features)
        y : ignored
        """
        return float(self.score_samples(X).sum())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> NDArray[np.int64]:
        """New rows, independent draws of what `score_samples` scores: rates from q, each row its own, then counts.

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
        rng = _generator(random_state)
        rates = self.q_.sample(n_samples, rng)
        require("sampled rates", "at most 9e18, for counts to be 64-bit integers", rates, rates <= 9e18)
        return rng.poisson(rates)

    def credible_interval(self, level: float = 0.95) -> tuple[Array, Array]:
        """The central credible interval of each column's rate under q, by `Gamma.interval`: (low, high).

        It is about the mean count of a column, not about the next count.

        Parameters
        ----------
        level : float
            Probability inside, in (0, 1).
        """
        check_is_fitted(self)
        return self.q_.interval(level)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        tags.input_tags.positive_only = True
        return tags

    def _update(self, X: Any, first: bool) -> "PoissonGammaDensity":
        X = self._table(X, reset=first)
        given = self._check_parameters(X.shape[1])
        m, sums, rest = X.shape[0], _sums(X), 0.0
        if not first:
            m, (sums, rest) = self.n_observations_ + m, _add(self._sums, self._rest, sums)
        totals, log_base = sums + rest
        model = PoissonGamma._from_statistics(self._prior(given, m, totals), m, totals, log_base)
        exact = self.method == "exact"
        q, self.n_iter_ = (model.posterior, 1) if exact else (self._variational(model), self.n_steps)
        self.n_observations_, self.totals_, self._sums, self._rest = m, totals, sums, rest
        self.prior_, self.posterior_, self.q_ = model.prior, model.posterior, q
        self.log_evidence_ = float(model.log_evidence)
        self.elbo_ = self.log_evidence_ if exact else float(exact_elbo.value(model, q))
        return self

    def _table(self, X: Any, reset: bool) -> Any:
        """X as finite non-negative floats, dense or sparse without duplicate entries; X itself is not changed."""
        X = validate_data(self, X, accept_sparse=("csr", "csc"), dtype=np.float64, reset=reset)
        check_non_negative(X, "PoissonGammaDensity (input X)")
        if issparse(X) and not X.has_canonical_format:
            X = X.copy()
            X.sum_duplicates()
        largest = np.max(X.data if issparse(X) else X, initial=0.0)
        require("X", "at most 1e100", largest, largest <= 1e100)
        return X

    def _check_parameters(self, n_features: int) -> Gamma:
        """The prior given, after a look at the other parameters."""
        one_of("method", self.method, ("exact", "variational"))
        whole("n_samples", self.n_samples, 1)
        whole("n_steps", self.n_steps, 1)
        if self.empirical_bayes == "per_column":
            raise ValueError("empirical_bayes must be None, 'pooled' or 'strength', got 'per_column': one total a "
                             "column cannot tell a prior's mean from its strength; with shape / rate at total / rows "
                             "its evidence grows with the shape for ever, and there is no best prior")
        if self.empirical_bayes is not None:
            one_of("empirical_bayes, where it is not None,", self.empirical_bayes, ("pooled", "strength"))
        prior = [positive(name, getattr(self, name)) for name in ("prior_shape", "prior_rate")]
        for name, array in zip(("prior_shape", "prior_rate"), prior, strict=True):
            if array.shape not in ((), (n_features,)):
                raise ValueError(f"{name} must be a number or one for each of {n_features} columns, "
                                 f"got shape {array.shape}")
        return Gamma(*(np.broadcast_to(array, n_features) for array in prior))

    def _prior(self, given: Gamma, m: int, totals: Array) -> Gamma:
        if self.empirical_bayes is None:
            return given
        if self.empirical_bayes == "pooled":
            return empirical_bayes.pooled(m, totals)
        strength = empirical_bayes.strength(m, totals, given.mean)
        return Gamma(strength * given.mean, strength)

    def _variational(self, model: PoissonGamma) -> Gamma:
        rng = _generator(self.random_state)
        return fit(model, model.prior, n_samples=self.n_samples, n_steps=self.n_steps, rng=rng).q


def _sums(X: Any) -> Array:
    """Column sums and - sum log x! of each column, (2, D): in blocks or pairwise, so that roundings do not pile up."""
    if not issparse(X):
        blocks = np.arange(0, len(X), 1024)
        return np.array([np.add.reduceat(values, blocks).sum(axis=0) for values in (X, -gammaln(X + 1))])
    X, sums = X.tocsc(), np.zeros((2, X.shape[1]))
    filled = np.diff(X.indptr) > 0
    if filled.any():
        sums[:, filled] = [np.add.reduceat(values, X.indptr[:-1][filled]) for values in (X.data, -gammaln(X.data + 1))]
    return sums


def _add(sums: Array, rest: Array | float, more: Array) -> tuple[Array, Array]:
    """Sums with more added, and what rounding has taken from them so far (Knuth's two-sum)."""
    total = sums + more
    added = total - sums
    return total, rest + ((sums - (total - added)) + (more - added))


def _generator(random_state: Any) -> np.random.Generator:
    """A generator seeded by what scikit-learn takes for a random state."""
    return np.random.default_rng(check_random_state(random_state).randint(0, 2**31 - 1, size=4))
