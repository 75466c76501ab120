"""From the node's units to ours."""


def satoshis(coins: float | None) -> float | None:
    """Coins to satoshis, whole."""
    return None if coins is None else round(coins * 1e8)


def satoshis_per_vbyte(coins_per_kvb: float | None) -> float | None:
    """A feerate in coins per 1000 virtual bytes to satoshis per virtual byte, to a thousandth of a satoshi."""
    return None if coins_per_kvb is None else round(coins_per_kvb * 1e5, 3)
