"""Programs of the applications themselves; they run in a venv of their own."""
