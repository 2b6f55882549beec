"""What Prometheus reads: counts, their families, and where they are served."""
