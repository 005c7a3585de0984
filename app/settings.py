"""Deployment settings, read once per process from `NEARMISS_*` and handed on."""

import ipaddress
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class Settings(BaseSettings):
    """Everything that differs between a laptop and a team's server; scaling out changes the three URLs."""

    model_config = SettingsConfigDict(env_prefix="NEARMISS_", extra="ignore")

    home: Path = Field(
        default=Path(".nearmiss"), description="folder of everything that has no URL of its own"
    )
    database_url: str = Field(
        default="", repr=False, description="SQLAlchemy URL; empty: SQLite in the home folder"
    )
    broker_url: str = Field(
        default="", repr=False, description="Redis URL; empty: an embedded Valkey in the home folder"
    )
    media_url: str = Field(
        default="", repr=False, description="fsspec URL of the media store; empty: a folder in the home"
    )
    host: str = Field(default="127.0.0.1", description="address that the web process binds")
    port: int = Field(default=7860, ge=1, le=65535, description="port that the web process binds")
    published_on_loopback: bool = Field(
        default=False,
        description="says that a container binds all addresses and its port is published on 127.0.0.1 only",
    )
    hosts: str = Field(
        default="", description="names, with blanks between, under which people open the page from elsewhere"
    )
    trusted_proxies: str = Field(
        default="",
        description="addresses or networks, with blanks between, whose X-Forwarded-For and -Proto are believed",
    )
    oidc_issuer: str = Field(default="", description="URL of an OpenID Connect provider; empty: none")
    oidc_client_id: str = Field(default="", description="what the provider calls this Nearmiss")
    oidc_client_secret: SecretStr = Field(default=SecretStr(""), description="the secret for that")
    oidc_name: str = Field(default="your organisation", description="the provider's name on the log-in page")
    oidc_role: Literal["", "viewer", "annotator"] = Field(
        default="", description="a newcomer's role on all data sets; empty: nothing until it is granted"
    )
    lease_s: float = Field(
        default=45.0, gt=0, description="a job's lease; its heartbeat comes three times as often"
    )
    visibility_s: float = Field(
        default=7 * 86400.0,
        gt=0,
        description="after which the broker hands out a message again; the lease turns its second reader away",
    )
    max_attempts: int = Field(
        default=3, ge=1, description="attempts without a new checkpoint before a job fails"
    )
    log_json: bool = Field(default=False, description="logs as JSON lines, with one for each request")
    person: str = Field(default="me", description="name of the single local user")
    demo: bool = Field(
        default=True, description="whether `nearmiss up` imports the demo into an empty database"
    )
    device: str = Field(default="auto", description="auto, cpu, cuda or mps, for the workers")

    import_roots: str = Field(
        default="",
        description="folders that page and API may import from, with ':' between; empty: all of this machine"
        " while there is no account, none once there is one",
    )
    webhooks: str = Field(
        default="", repr=False, description="URLs, with blanks between, that are told when a run is over"
    )
    webhook_private: bool = Field(default=False, description="whether a webhook may lie in a private network")
    hub_token: SecretStr = Field(
        default=SecretStr(""),
        description="token of the Hugging Face hub, to push checkpoints; shown to nobody",
    )
    hub_data_set_admins: bool = Field(
        default=False,
        description="whether the admin of a data set may push with the server's token; otherwise only the server's admins",
    )
    keep_training_days: float = Field(
        default=14.0,
        ge=0,
        description="days after which `nearmiss gc` takes checkpoints of runs that stopped",
    )
    keep_results_days: float = Field(
        default=0.0,
        ge=0,
        description="days after which `nearmiss gc` takes the weights of finished runs that nothing holds; 0: never",
    )
    keep_best_results: int = Field(
        default=3, ge=0, description="how many runs of a data set keep their weights for being the best"
    )
    quota_gb: float = Field(
        default=0.0, ge=0, description="what media and runs may hold before no run starts; 0: no limit"
    )
    data_set_quota_gb: float = Field(
        default=0.0,
        ge=0,
        description="what pictures and runs of one data set may hold before it starts no run and takes no import; 0: no limit",
    )
    gpu_workers: int = Field(
        default=0, ge=0, description="GPU workers that `nearmiss up` starts; 0: one a GPU, at least one"
    )
    upload_gb: float = Field(default=20.0, gt=0, description="what all uploads together may hold, in GB")

    upload_person_gb: float = Field(
        default=20.0, gt=0, description="what the uploads of one person may hold, in GB"
    )

    @property
    def named_roots(self) -> list[Path]:
        """The folders of `import_roots`; what none means, `app.actions.import_roots` says."""
        named = [Path(part).expanduser() for part in self.import_roots.split(":") if part.strip()]
        return [root.resolve() for root in named]

    @property
    def reached_by_others(self) -> bool:
        """Whether other machines can open the page, so that somebody has to log in: also through a proxy beside it."""
        elsewhere = any(not is_loopback(name) for name in self.hosts.split())
        return elsewhere or (not is_loopback(self.host) and not self.published_on_loopback)

    @property
    def resolved_database_url(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.home.resolve() / 'nearmiss.db'}"

    @property
    def resolved_media_url(self) -> str:
        """The media store's URL in force."""
        return self.media_url or f"file://{self.home.resolve() / 'media'}"

    @property
    def broker_socket(self) -> Path:
        """Where the embedded broker listens, when no `broker_url` is given."""
        return self.home.resolve() / "broker.sock"

    @property
    def resolved_broker_url(self) -> str:
        """The broker URL in force, in Celery's spelling."""
        return self.broker_url or f"redis+socket://{self.broker_socket}"


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@lru_cache(maxsize=1)
def get_settings() -> Settings:
    """This process's settings."""
    return Settings()
