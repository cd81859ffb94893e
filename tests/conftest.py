import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    # Here and not in pyproject.toml: naming the class there would import depthweave before jaxtyping can check it.
    for item in items:
        item.add_marker(pytest.mark.filterwarnings("error::depthweave.errors.DepthweaveWarning"))
