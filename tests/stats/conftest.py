from collections.abc import Iterator

import pytest

from trainkit.stats.cpu.loops import loops, using, without_numba


@pytest.fixture(scope="module", params=["numba", "torch"])
def each_backend(request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the tests of a module with numba and as if numba were not installed."""
    if request.param == "numba":
        assert loops() != without_numba(), "numba is not used; is it installed?"
        yield
        return
    with using(without_numba()):
        yield
