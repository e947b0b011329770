"""What one draw of theta and phi makes of the counts: the passes over non-zeros at given values, not at a q.

The rate of a count is sum_k theta_ik phi_dk. All is held in logarithms; the exponentials are taken once a row and once
a column, each divided by its row's largest, and a sum whose terms may have vanished is taken again in logarithms.
"""

import math

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import betaln, gammaln

from vi_ref import _validate
from vi_ref._compiled import njit
from vi_ref.poisson_factorization.cavi import Prior
from vi_ref.poisson_factorization.sweep import _BLOCK, _LEAST, _add, _in_logarithms, _sums

Array = NDArray[np.float64]


def log_sums(counts: csr_array, log_theta: Array, log_phi: Array) -> Array:
    """Of each row, sum_d x_id log sum_k theta_ik phi_dk, (m,): what of book eq. `eq-pf-marginal-likelihood` costs time.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        As `checked` returns it.
    log_theta : ndarray, shape (m, K)
    log_phi : ndarray, shape (D, K)
    """
    out = np.empty(len(log_theta))
    _log_sums(counts.indptr, counts.indices, counts.data, log_theta, log_phi, out)
    return out


def shares(counts: csr_array, log_theta: Array, log_phi: Array, of_rows: Array, of_columns: Array) -> None:
    """Put sum_d x_id r_idk into `of_rows` and sum_i x_id r_idk into `of_columns`: the gradient of `log_sums`.

    r_idk = theta_ik phi_dk / sum_j theta_ij phi_dj is the share of cause k: book eq. `eq-pf-shares`.

    Parameters
    ----------
    counts : scipy.sparse.csr_array, shape (m, D)
        As `checked` returns it.
    log_theta : ndarray, shape (m, K)
    log_phi : ndarray, shape (D, K)
    of_rows : ndarray, shape (m, K)
    of_columns : ndarray, shape (D, K)
    """
    _shares(counts.indptr, counts.indices, counts.data, log_theta, log_phi, of_rows, of_columns)


def log_prior(prior: Prior, logs: Array, log_own: Array | None) -> Array:
    """Log density of the logarithms of a side's rows and of their own rates, (..., n): eq. `eq-pf-log-prior`.

    Parameters
    ----------
    prior : Prior
    logs : ndarray, shape (..., n, K)
    log_own : ndarray, shape (..., n), or None
        Where the prior has a spread.
    """
    if log_own is None:
        return _log_gamma(prior.shape, logs + np.log(prior.rate)).sum(axis=-1)
    own = _log_gamma(prior.spread, log_own + np.log(prior.spread / prior.rate))
    return _log_gamma(prior.shape, logs + log_own[..., None]).sum(axis=-1) + own


def log_prior_of_rows(prior: Prior, logs: Array) -> Array:
    """Log density of the logarithms of a side's rows, (..., n), with their own rates integrated out.

    Where the prior has a spread s that is, with t = s / rate, A = sum_k a_k and T = sum_k theta_k,

        sum_k (a_k log theta_k - log Gamma(a_k)) + log Gamma(s + A) - log Gamma(s) - A log t - (s + A) log(1 + T / t),

    book eq. `eq-pf-compound-prior`: the components of a row are no longer independent.

    Parameters
    ----------
    prior : Prior
    logs : ndarray, shape (..., n, K)
    """
    if prior.spread is None:
        return log_prior(prior, logs, None)
    s, a = prior.spread, np.broadcast_to(prior.shape, logs.shape[-1])
    over_t = logs - np.log(s / prior.rate)
    parts = np.sum(a * over_t - gammaln(a), axis=-1)
    log_ratio = gammaln(a.sum()) - betaln(a.sum(), s)      # of Gamma(s + A) to Gamma(s), which a large s rounds away
    return parts + log_ratio - (s + a.sum()) * np.logaddexp.reduce(over_t, axis=-1, initial=0)


def checked(counts: csr_array) -> csr_array:
    """The table with positive floats for counts, each place once, or an error that says what is wrong with it."""
    if not isinstance(counts, csr_array) or counts.ndim != 2 or 0 in counts.shape:
        raise ValueError(f"counts must be a scipy.sparse.csr_array of at least one row and column, got {counts!r:.60}")
    data = _validate.real("counts", counts.data)
    _validate.require("counts", "non-negative and finite", data, np.isfinite(data) & (data >= 0))
    table = csr_array((data, counts.indices, counts.indptr), shape=counts.shape)
    if not (table.has_canonical_format and data.all()):
        table = table.copy()
        table.sum_duplicates()
        table.eliminate_zeros()
    return table


def fixed(name: str, prior: Prior, n_components: int) -> Prior:
    """The prior as it stands, not learned, or an error that says what of it is no prior of K components."""
    if not isinstance(prior, Prior):
        raise ValueError(f"{name} must be a Prior, got {prior!r:.60}")
    for part in ("shape", "rate"):
        value = _validate.positive(f"{name}'s {part}", getattr(prior, part))
        if value.shape not in ((), (n_components,)):
            raise ValueError(f"{name}'s {part} must be a number or {n_components} of them, got shape {value.shape}")
    if prior.spread is not None:
        _validate.between(f"{name}'s spread", prior.spread, 0, np.inf)
        if np.ndim(prior.rate):
            raise ValueError(f"{name}'s rate must be one number with a spread, got shape {np.shape(prior.rate)}")
    return prior._replace(learned=False)


def _log_gamma(shape: Array | float, log_scaled: Array) -> Array:
    """Log density of log theta, theta ~ Gamma(shape, rate), from log(rate theta)."""
    return shape * log_scaled - np.exp(log_scaled) - gammaln(shape)


@njit
def _log_sums(indptr, indices, data, log_theta, log_phi, out):
    row, largest = _scaled(log_theta)
    column, largests = _scaled(log_phi)
    nothing, weight = np.zeros(row.shape[1]), np.empty(_BLOCK)
    for i in range(out.size):
        out[i] = 0.0
        for start in range(indptr[i], indptr[i + 1], _BLOCK):
            end = min(start + _BLOCK, indptr[i + 1])
            _sums(row[i], column, indices[start:end], weight)
            for j in range(start, end):
                d = indices[j]
                if weight[j - start] >= _LEAST:
                    out[i] += data[j] * (math.log(weight[j - start]) + largest[i] + largests[d])
                else:
                    out[i] += data[j] * _in_logarithms(log_theta[i], log_phi[d], 0.0, nothing)


@njit
def _shares(indptr, indices, data, log_theta, log_phi, of_rows, of_columns):
    row, _ = _scaled(log_theta)
    column, _ = _scaled(log_phi)
    weight, far = np.empty(_BLOCK), np.zeros_like(of_columns)
    extra, share = np.empty(row.shape[1]), np.empty(row.shape[1])
    of_rows[:] = 0.0
    of_columns[:] = 0.0
    for i in range(len(row)):
        extra[:] = 0.0
        for start in range(indptr[i], indptr[i + 1], _BLOCK):
            end = min(start + _BLOCK, indptr[i + 1])
            _sums(row[i], column, indices[start:end], weight)
            for j in range(start, end):
                d = indices[j]
                if weight[j - start] >= _LEAST:
                    weight[j - start] = data[j] / weight[j - start]
                    for k in range(extra.size):
                        of_columns[d, k] += weight[j - start] * row[i, k]
                else:
                    weight[j - start] = 0.0
                    share[:] = 0.0
                    _in_logarithms(log_theta[i], log_phi[d], data[j], share)
                    for k in range(share.size):
                        extra[k] += share[k]
                        far[d, k] += share[k]
            _add(weight, column, indices[start:end], of_rows[i])
        for k in range(extra.size):
            of_rows[i, k] = row[i, k] * of_rows[i, k] + extra[k]
    for d in range(len(column)):
        for k in range(extra.size):
            of_columns[d, k] = of_columns[d, k] * column[d, k] + far[d, k]


@njit
def _scaled(logs):
    """Exponentials of each row over its largest, and the logarithm of that largest."""
    scaled, largest = np.empty(logs.shape), np.empty(len(logs))
    for i in range(len(logs)):
        largest[i] = -np.inf
        for k in range(logs.shape[1]):
            largest[i] = max(largest[i], logs[i, k])
        for k in range(logs.shape[1]):
            scaled[i, k] = math.exp(logs[i, k] - largest[i])
    return scaled, largest
