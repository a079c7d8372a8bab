"""Numbers as a person reads them."""


def human_bytes(n: float) -> str:
    """Bytes in units a person reads.

    Example:
        >>> human_bytes(2.88e12)
        '2.88 TB'
    """
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if n < 1000:
            return f"{n:.3g} {unit}"
        n /= 1000
    return f"{n:.3g} PB"
