from collections.abc import Iterator

import pytest

from trainkit.stats.cpu import loops as main_memory
from trainkit.stats.cpu.loops import loops, numpy_loops


@pytest.fixture(scope="module", params=["numba", "numpy"])
def each_kind_of_loops(request: pytest.FixtureRequest) -> Iterator[None]:
    """What holds with numba holds without."""
    if request.param == "numba":
        assert loops() != numpy_loops(), "numba is not used; is it installed?"
        yield
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(main_memory, "_chosen", [numpy_loops()])
        yield
