"""A dataset: one folder with the volumes, tables and ledger of one run.

``dataset.json`` says what was asked for: the workflow, the volume's box and voxel size, and a
fingerprint per stage. It is what makes a folder a dataset.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from connectome.errors import InputError
from connectome.store.ledger import Ledger
from connectome.store.locations import Location, delete_keys, read_key, write_key
from connectome.store.run_lock import check_claim
from connectome.store.table import Table
from connectome.store.volume import Volume, abandon

RECORD = "dataset.json"
FORMAT, VERSION = "connectome dataset", 1
FIELDS: dict[str, dict[str, type]] = {
    "plan": {"workflow": dict, "domain": list, "voxel_size_nm": list, "external": dict},
    "state": {"domain": str, "voxel_size_nm": list, "block": list, "inputs": dict, "stages": dict},
}
"""What the record holds for the plan and for what results depend on."""


@dataclass(frozen=True)
class Dataset:
    """The dataset at `url` (an absolute path or a URL), as whoever holds `claim` of its run lock may write it."""

    url: str
    claim: str | None = None

    @classmethod
    def at(cls, url: str) -> Dataset:
        """Return the dataset at `url`, which need not exist yet."""
        location = Location.parse(url)
        if location.name is not None:
            raise InputError(f"dataset.url is {url!r}, but a dataset is a folder: leave out #{location.name}")
        return cls(location.container)

    def check_held(self) -> None:
        """Raise where the claim was taken over; asked right before blocks and tables are written."""
        if self.claim is not None:
            check_claim(self.url, self.claim)

    def read_record(self) -> dict[str, Any] | None:
        """Return what ``dataset.json`` says, or None where there is no dataset yet."""
        content = read_key(self.url, RECORD)
        if content is None:
            return None
        try:
            record = json.loads(content)
        except ValueError:
            record = None
        if (flaw := _flaw(record)) is not None:
            raise InputError(f"{self.url}/{RECORD} {flaw}: restore it, or choose another dataset.url")
        known: dict[str, Any] = record
        return known

    def write_record(self, plan: Mapping[str, Any], state: Mapping[str, Any]) -> None:
        """Replace ``dataset.json``."""
        record = {"format": FORMAT, "version": VERSION, "plan": plan, "state": state}
        write_key(self.url, RECORD, json.dumps(record, indent=1).encode())

    @property
    def ledger(self) -> Ledger:
        return Ledger(self.url)

    def volume_url(self, name: str) -> str:
        return f"{self.url}/volumes/{name}"

    def volume(self, name: str) -> Volume:
        return Volume.open(self.volume_url(name))

    def table(self, name: str, columns: Mapping[str, str]) -> Table:
        return Table(f"{self.url}/tables/{name}", columns)

    def delete_volume(self, name: str) -> None:
        """Delete an artifact; interrupted, it leaves what nobody takes for a volume."""
        abandon(self.volume_url(name))
        delete_keys(self.volume_url(name))

    def delete_table(self, name: str) -> None:
        delete_keys(f"{self.url}/tables/{name}")


def _flaw(record: Any) -> str | None:
    """Return what is wrong with a record, if something is."""
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        return "is not the record of a dataset"
    if record.get("version") != VERSION:
        return f"is of version {record.get('version')!r}, wanted is {VERSION}"
    for part, fields in FIELDS.items():
        values = record.get(part)
        for name, kind in fields.items():
            if not isinstance(values, dict) or not isinstance(values.get(name), kind):
                return f"does not say the {name} of its {part}"
    return None
