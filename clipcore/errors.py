"""What a person can cause. Each message is one sentence: what was wrong, the value found, what to do."""


class ClipcoreError(ValueError):
    """Raised for input that cannot work; nothing has been changed when it is raised."""
