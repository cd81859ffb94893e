"""Networks, and the table of every model that depthweave knows."""
