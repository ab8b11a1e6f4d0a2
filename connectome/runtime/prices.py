"""Price tables: what an hour of a worker costs in each pool, and what the store charges."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from connectome.errors import InputError
from connectome.workflow.workflow import sentence_of
from connectome.workflow.yaml_file import read_yaml

PRICES = Path(__file__).with_name("prices.yaml")
GPU = "gpu"


def _no_yes(value: object) -> object:
    if isinstance(value, bool):
        raise ValueError(f"a number is wanted, got {str(value).lower()}")  # noqa: TRY004
    return value


Amount = Annotated[float, BeforeValidator(_no_yes), Field(ge=0, allow_inf_nan=False)]
Count = Annotated[int, BeforeValidator(_no_yes), Field(ge=0)]


class PoolPrice(BaseModel):
    """What an hour of one worker costs, and what such a worker is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_hour: Amount
    spot_usd_per_hour: Amount | None = None
    """Of a machine that can be taken away; the same as `usd_per_hour` where it is not given."""
    cores: Count = 1
    gpus: Count | None = None
    """1 in the pool ``gpu`` and 0 in others where it is not given."""

    def usd(self, spot_share: float = 0.0) -> float:
        """Return the price of an hour where a share of the time is spot machines'."""
        spot = self.usd_per_hour if self.spot_usd_per_hour is None else self.spot_usd_per_hour
        return (1 - spot_share) * self.usd_per_hour + spot_share * spot


class StorePrice(BaseModel):
    """What the store charges; nothing where it is not given."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    usd_per_gb_read: Amount = 0.0
    """Egress: for every 10^9 bytes that workers read."""
    usd_per_gb_month: Amount = 0.0
    months_kept: Amount = 1.0
    """How long the bill keeps what was written."""
    usd_per_1000_reads: Amount = 0.0
    usd_per_1000_writes: Amount = 0.0

    def usd(self, read_bytes: float, written_bytes: float, reads: float, writes: float) -> float:
        """Return what traffic costs, what is written being kept for `months_kept`."""
        return (
            read_bytes / 1e9 * self.usd_per_gb_read
            + written_bytes / 1e9 * self.usd_per_gb_month * self.months_kept
            + reads / 1000 * self.usd_per_1000_reads
            + writes / 1000 * self.usd_per_1000_writes
        )


class Prices(BaseModel):
    """A price table."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    source: str = ""
    """Where the prices are from, and every assumption."""
    pools: dict[str, PoolPrice]
    store: StorePrice = StorePrice()

    @classmethod
    def load(cls, path: Path | None = None) -> Prices:
        """Read a price table; the default one where no path is given."""
        try:
            return cls.model_validate(read_yaml(path or PRICES, "price table"))
        except ValidationError as error:
            raise InputError(
                f"price table {path}: {sentence_of(error, cls)}; a table has name, source, pools (with usd_per_hour "
                "for each) and store"
            ) from error

    def check(self, pools: Iterable[str]) -> None:
        """Refuse pools that have no price."""
        missing = sorted(set(pools) - set(self.pools))
        if missing:
            raise InputError(
                f"price table {self.name!r} has no pool {missing[0]!r} (there are {', '.join(sorted(self.pools))}): "
                f"give --prices TABLE.yaml with pools: {{{missing[0]}: {{usd_per_hour: ...}}}}"
            )

    def pool(self, name: str) -> PoolPrice:
        """Return the price of a pool, or refuse one that has none."""
        self.check([name])
        return self.pools[name]

    def gpus(self, pool: str) -> int:
        """Return how many GPUs a worker of a pool has."""
        gpus = self.pool(pool).gpus
        return int(pool == GPU) if gpus is None else gpus
