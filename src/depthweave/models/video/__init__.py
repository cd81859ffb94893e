"""Networks for clips."""
