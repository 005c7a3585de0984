"""The first start on an address that other machines reach: an admin's account, so that nothing is ever open."""

from app.actions.accounts import first_admin
from app.settings import Settings
from app.store.database import Database
from app.store.schema import check


def say_first_password(settings: Settings) -> None:
    """Makes the account and prints its password, this one time; nothing where there is an account, or on loopback.

    Raises NearmissError for a database that is not migrated.
    """
    if not settings.reached_by_others:
        return
    database = Database(settings)
    check(database.engine)
    with database.transaction() as session:
        password = first_admin(session)
    database.close()
    if password is not None:
        print(
            f"The first account: name admin, password {password} (shown once; change it in People)",
            flush=True,
        )
