"""Adam, to the letter of Kingma & Ba (2015), Algorithm 1."""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from vi_ref._validate import between

Array = NDArray[np.float64]


class AdamState(NamedTuple):
    """What Adam remembers between steps; never changed in place."""

    step: int      #: t, the number of steps taken
    m: Array       #: moving average of the gradient, biased towards 0
    v: Array       #: moving average of its square, likewise


@dataclass(frozen=True)
class Adam:
    """Adam minimises: hand it the gradient of a loss, or minus that of an objective.

    ==================  =====================  =================================
    paper               here                   meaning
    ==================  =====================  =================================
    alpha               ``learning_rate``      step size
    beta_1, beta_2      ``beta1``, ``beta2``   decay of the two averages
    epsilon             ``epsilon``            added to the root, after bias correction
    m_t, v_t, t         ``AdamState``          state
    ==================  =====================  =================================

    m_t = beta_1 m_{t-1} + (1 - beta_1) g and v_t = beta_2 v_{t-1} + (1 - beta_2) g^2;
    the parameters move by -alpha m^ / (sqrt(v^) + epsilon), with m^ = m_t / (1 - beta_1^t)
    and v^ = v_t / (1 - beta_2^t). It is the algorithm of the paper, not the reordered variant
    at the end of its section 2, whose epsilon means something else.

    Raises
    ------
    ValueError
        If learning_rate or epsilon is not positive, or a beta is outside [0, 1).

    Examples
    --------
    Minimise (x - 3)^2:

    >>> adam = Adam(learning_rate=0.1)
    >>> x = np.array([0.0])
    >>> state = adam.init(x)
    >>> for _ in range(500):
    ...     x, state = adam.update(x, 2 * (x - 3), state)
    >>> x.round(6)
    array([3.])

    References
    ----------
    Kingma & Ba (2015), Adam: A Method for Stochastic Optimization, Algorithm 1.
    """

    learning_rate: float = 0.001
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self):
        between("learning_rate", self.learning_rate, 0, np.inf)
        between("beta1", self.beta1, 0, 1, "[)")
        between("beta2", self.beta2, 0, 1, "[)")
        between("epsilon", self.epsilon, 0, np.inf)

    def init(self, params: Array) -> AdamState:
        """State before the first step, for parameters of any shape."""
        return AdamState(0, np.zeros_like(params, dtype=float), np.zeros_like(params, dtype=float))

    def update(self, params: Array, gradient: Array, state: AdamState, scale: float = 1.0) -> tuple[Array, AdamState]:
        """One step down the gradient: book eqs. `eq-adam-moments`, `eq-adam-bias` and `eq-adam-step`.

        Parameters
        ----------
        params, gradient : ndarray
            Of one shape.
        state : AdamState
        scale : float
            Multiplies the learning rate of this step: a schedule's value.

        Returns
        -------
        params, state
            New ones; the arguments are left as they are.

        Raises
        ------
        ValueError
            If the gradient's shape is not that of the parameters.
        """
        if np.shape(gradient) != np.shape(params):
            raise ValueError(f"gradient must have the parameters' shape {np.shape(params)}, got {np.shape(gradient)}")
        t = state.step + 1
        m = self.beta1 * state.m + (1 - self.beta1) * gradient
        v = self.beta2 * state.v + (1 - self.beta2) * gradient**2
        m_hat = m / (1 - self.beta1**t)
        v_hat = v / (1 - self.beta2**t)
        step = scale * self.learning_rate * m_hat / (np.sqrt(v_hat) + self.epsilon)
        return params - step, AdamState(t, m, v)
