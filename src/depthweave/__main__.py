"""`python -m depthweave`: the same as `depthweave`."""

from depthweave.cli.main import run

run()
