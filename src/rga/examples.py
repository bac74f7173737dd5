"""Which few of many are looked at."""

COUNT = 8


def equally_distant(total: int, count: int = COUNT) -> list[int]:
    """`count` of the places 0 .. total - 1; all where there are fewer.

    >>> equally_distant(10, 4), equally_distant(2, 4)
    ([0, 2, 5, 7], [0, 1])
    """
    count = min(count, total)
    return [place * total // count for place in range(count)]
