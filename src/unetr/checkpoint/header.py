"""The JSON part of a model file: what the network is and what it was trained for, without torch.

A model file is a safetensors file: eight bytes with the length of a JSON header, the header, the
weights. Our part of the header is one string under the key `unetr`, itself JSON.
"""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unetr.data.plan import Plan
from unetr.errors import InputError

FORMAT_VERSION = 1
METADATA_KEY = "unetr"
# safetensors itself refuses longer headers; a foreign file's first bytes give absurd lengths.
_LONGEST_HEADER = 100_000_000
_SHIPPED = Path(__file__).with_name("pretrained")


class NetworkConfig(BaseModel):
    """The network's kind, such as `unetr`, and the keyword arguments that rebuild it."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    config: dict[str, Any]


class Header(BaseModel):
    """All that a model file says besides its weights.

    Attributes:
        version: Of this format.
        network: See NetworkConfig.
        plan: From scan to network input and back, with the label table.
        provenance: Where the weights come from: training data, versions, seed, scores.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    network: NetworkConfig
    plan: Plan
    provenance: dict[str, Any] = Field(default_factory=dict)

    def to_json(self) -> str:
        """The string stored under METADATA_KEY."""
        return self.model_dump_json()

    @property
    def digest(self) -> str:
        """Tells trainings apart: a model that was trained further has another one."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()[:16]


def parse_header(text: str, source: str) -> Header:
    """Reads what `Header.to_json` wrote; `source` names the file in errors.

    Raises:
        InputError: another format version, or a header that does not hold together.
    """
    try:
        content = json.loads(text)
        version = content["version"]
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{source}: its unetr header is not readable; export it again") from None
    if version != FORMAT_VERSION:
        raise InputError(
            f"{source}: model format version {version!r} is not known to this unetr, which reads "
            f"version {FORMAT_VERSION}; use the unetr that wrote it or a newer one"
        )
    try:
        header = Header.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"])
        raise InputError(f"{source}: header field {field}: {first['msg']}") from None
    _check_sizes(header, source)
    return header


def _check_sizes(header: Header, source: str) -> None:
    """Refuses a plan that is not for this network."""
    plan = header.plan
    planned = {"in_channels": len(plan.channels), "out_channels": plan.out_channels}
    for field, wanted in planned.items():
        found = header.network.config.get(field, wanted)
        if found != wanted:
            raise InputError(
                f"{source}: header field network.config.{field}: {found}, but the plan is for "
                f"{wanted}; take the plan and the network of one training"
            )


def shipped_models() -> dict[str, Path]:
    """The models that come with the package, by the name that stands for each."""
    return {file.stem: file for file in sorted(_SHIPPED.glob("*.safetensors"))}


def model_file(path: str | Path) -> Path:
    """The file that a path stands for: itself, the model of a run folder, or, where there is no
    model of that name, the one that comes with the package."""
    path = Path(path)
    file = path / "model.safetensors" if path.is_dir() else path
    # A folder may be named like a shipped model because it holds scans for it.
    return file if file.exists() else shipped_models().get(str(path), file)


def read_header(path: str | Path) -> Header:
    """Reads the header of a model file without its weights; `path` as `model_file` takes it.

    Raises:
        InputError: not there, not a model file, truncated, or of another format version.
    """
    path = model_file(path)
    table = _read_table(path)
    metadata = table.get("__metadata__")
    if not isinstance(metadata, dict) or METADATA_KEY not in metadata:
        raise InputError(
            f"{path}: safetensors without a unetr header, so not a unetr model; "
            "a MONAI UNETR checkpoint becomes one by `unetr import-monai`"
        )
    return parse_header(str(metadata[METADATA_KEY]), str(path))


def _read_table(path: Path) -> dict[str, Any]:
    """The safetensors header: tensor names to places, and `__metadata__`."""
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            start = file.read(8)
            length = struct.unpack("<Q", start)[0] if len(start) == 8 else _LONGEST_HEADER + 1
            # A length may begin with these bytes, too; only a pickle's make an absurd one.
            if length > _LONGEST_HEADER and (start[:2] == b"PK" or start[:1] == b"\x80"):
                raise InputError(
                    f"{path}: a pickled torch checkpoint, not a unetr model; "
                    "if it is a MONAI UNETR, convert it by `unetr import-monai`"
                )
            raw = file.read(min(length, _LONGEST_HEADER))
            # The table is a JSON object. A compressed scan, say, may begin like a length.
            if length > _LONGEST_HEADER or raw[:1] not in (b"{", b""):
                raise InputError(f"{path}: not a unetr model file (model.safetensors is expected)")
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error})") from None
    if len(raw) < length:
        raise InputError(f"{path}: truncated within its header; copy or download it again")
    try:
        table = json.loads(raw)
        ends = [entry["data_offsets"][1] for key, entry in table.items() if key != "__metadata__"]
    except (ValueError, TypeError, KeyError, AttributeError):
        raise InputError(
            f"{path}: not a unetr model file (model.safetensors is expected)"
        ) from None
    whole = 8 + length + max(ends, default=0)
    if size < whole:
        raise InputError(
            f"{path}: truncated: {size} of {whole} bytes are there; copy or download it again"
        )
    return dict(table)
