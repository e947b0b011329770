"""Poisson factorisation: tables of counts as sums of a few causes, by coordinate ascent or by Monte Carlo gradients."""
