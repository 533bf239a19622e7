"""From windows to scores, candidates and ranks."""
