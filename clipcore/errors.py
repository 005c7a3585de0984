"""What a person can cause. Each message is one sentence: what was wrong, the value found, what to do."""


class ClipcoreError(ValueError):
    """Raised for input that cannot work; nothing has been changed when it is raised."""


class DiskFull(ClipcoreError):
    """A checkpoint finds no room; the one before is intact, so that the run can go on once there is."""


class LossNotFinite(ClipcoreError):
    """The loss left the numbers at a step; `pairs` (image id, caption id) are the whole batch."""

    def __init__(self, message: str, pairs: list[tuple[str, str]]):
        super().__init__(message)
        self.pairs = pairs
