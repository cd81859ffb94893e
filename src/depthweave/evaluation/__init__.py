"""Evaluation in two passes: predictions on disk, then scores from disk."""
