"""Batches: one transaction after the other, and what they meet."""
