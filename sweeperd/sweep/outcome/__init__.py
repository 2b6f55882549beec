"""What a run leaves: its report."""
