"""Is the fit right, and is the model? Calibration, coverage, importance weights and predictive checks.

Of the fit: `calibration_check` on simulated data, `coverage` of its intervals, `khat` of its importance weights.
Of the model: `pit` and `predictive_check` on held-out rows. Each is loaded on first use.
"""

from importlib import import_module

_HOME = {
    "simulate": "calibration", "ranks": "calibration", "rank_band": "calibration", "calibration_check": "calibration",
    "normal_scores": "scores", "score_tests": "scores",
    "holm": "multiple", "benjamini_hochberg": "multiple",
    "coverage": "intervals",
    "psis": "pareto", "khat": "importance", "khat_gamma": "importance",
    "pit": "randomised_pit", "predictive_check": "predictive",
    "rank_histograms": "pictures", "pit_panel": "pictures", "khat_picture": "pictures",
}

__all__ = list(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module 'vi_ref.diagnostics' has no attribute {name!r}")
    globals()[name] = value = getattr(import_module(f"vi_ref.diagnostics.{_HOME[name]}"), name)
    return value


def __dir__():
    return sorted(__all__)
