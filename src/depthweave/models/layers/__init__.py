"""Blocks that more than one family of networks is built from."""
