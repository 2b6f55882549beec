"""What the operator writes: models, loading, durations."""
