"""Files to checked models, and back."""
