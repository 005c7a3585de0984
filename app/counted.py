"""A number with its noun, as a sentence needs it."""


def counted(num: int, one: str, many: str = "") -> str:
    """`1 pair`, `1,200 pairs`; `many` where more than an s changes with the number ("row was", "rows were")."""
    return f"{num:,} {one if num == 1 else many or one + 's'}"
