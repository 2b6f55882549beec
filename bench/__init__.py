"""Measures sweeperd against named peers: ``python -m bench``."""
