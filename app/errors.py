"""What a person can cause. Each message is one sentence: what was wrong, the value found, what to do."""


class NearmissError(ValueError):
    """Shown to the person as it stands; the edges turn it into an HTTP answer or an exit code."""

    status = 400


class NotFound(NearmissError):
    """The row does not exist, or this person may not see it."""

    status = 404


class Conflict(NearmissError):
    """Somebody or something was there first (a finished run cannot be cancelled)."""

    status = 409


class Unavailable(NearmissError):
    """A part that this needs does not answer (broker, worker, model); nothing is lost."""

    status = 503


class NotReady(Unavailable):
    """The part is there and will answer soon (a worker that still loads its model); ask again."""
