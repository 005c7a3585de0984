"""Who asks, and what they may do where: one role on all data sets, or a role on each that was granted."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from app.errors import NearmissError, NotFound

Role = Literal["viewer", "annotator", "admin"]
RANK: dict[Role, int] = {"viewer": 0, "annotator": 1, "admin": 2}


class Forbidden(NearmissError):
    """The person may see it and may not do this."""

    status = 403


@dataclass(frozen=True)
class Who:
    """The person behind a request. `role` holds on every data set, None: only where `granted` says so.

    `cap` and `only_data_set_id` bound a token below its person.
    """

    name: str
    role: Role | None
    person_id: int | None = None  # None: the single local user, who has no account
    granted: Mapping[int, Role] = field(default_factory=dict)
    cap: Role | None = None
    only_data_set_id: int | None = None

    def role_on(self, data_set_id: int | None) -> Role | None:
        """The role on a data set, or on the server itself (None); None where this person sees nothing."""
        if self.only_data_set_id is not None and data_set_id != self.only_data_set_id:
            return None
        everywhere, here = self.role, self.granted.get(data_set_id) if data_set_id is not None else None
        roles = [role for role in (everywhere, here) if role is not None]
        best = max(roles, key=RANK.__getitem__, default=None)
        return best if best is None or self.cap is None else _lower(best, self.cap)

    def sees(self, data_set_id: int | None) -> bool:
        """Whether rows of this data set exist for this person."""
        return self.role_on(data_set_id) is not None

    @property
    def sees_all(self) -> bool:
        """Whether no row has to be looked up to know that it may be seen."""
        return self.role is not None and self.only_data_set_id is None


def _lower(one: Role, other: Role) -> Role:
    return one if RANK[one] <= RANK[other] else other


def demand(who: Who, role: Role, data_set_id: int | None, *, what: str = "") -> None:
    """Raises NotFound for a data set that `who` does not see, Forbidden where their role is too low."""
    has = who.role_on(data_set_id)
    if data_set_id is not None and has is None:
        raise NotFound(f"there is no {what or f'data set {data_set_id}'}; reload the page")
    if has is None or RANK[has] < RANK[role]:
        where = "on this server" if data_set_id is None else "on this data set"
        raise Forbidden(f"this needs the role {role} {where}, yours is {has or 'none'}; ask an admin")
