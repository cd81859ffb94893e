"""Networks for stereo pairs."""
