"""How collectors make themselves known."""

from typing import Any

import pytest

from chainwatch.exposition.collector import Collector, Registry


def test_a_collector_is_registered_once() -> None:
    registry: Registry[Any] = Registry("chainwatch.families.bitcoin.collectors")

    class Moon(Collector[Any]):
        """How full the moon is."""

        async def collect(self) -> list[Any]:
            return []

    registry.register("moon_phase")(Moon)
    (registration,) = registry
    assert (registration.flag, registration.summary, registration.default) == ("moon-phase", Moon.__doc__, True)
    with pytest.raises(ValueError, match="moon_phase is registered twice"):
        registry.register("moon_phase")(Moon)
