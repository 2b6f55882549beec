"""Whether a run may go on."""
