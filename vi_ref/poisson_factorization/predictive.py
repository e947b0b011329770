"""How probable new rows of counts are, with everything unknown about them integrated out.

Given the counts that the columns' q was fitted to, a new row has the probability E_q(phi) int p(theta) p(x | theta, phi)
dtheta. No row is scored with a theta fitted to itself: the fitted one only tells importance sampling where to look.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from scipy.special import gammaln, logsumexp

from vi_ref import _validate
from vi_ref.diagnostics.pareto import psis
from vi_ref.gamma import Gamma
from vi_ref.poisson_factorization import cavi, draws
from vi_ref.poisson_factorization.cavi import Prior, Side

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Marginal:
    """Log marginal probabilities of n rows, by importance sampling."""

    log_p: Array                           #: (n,), in nats
    standard_error: Array                  #: (n,), of log_p, to first order
    khat: Array                            #: (n,), shape of the tail of each row's weights, see `vi_ref.diagnostics`
    n_samples: int
