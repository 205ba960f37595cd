"""The shape: what a caller may send. The API process reads it, so it contains nothing of the target."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal, Self, TypeAlias

from relay.registration.data_schema import compile_schema, schema_faults
from relay.registration.methods import IDEMPOTENT_METHODS
from relay.registration.path_params import compile_pattern, segment_fault
from relay.registration.retrying import RetryPolicy
from relay.text.quantities import Rate, read_rate
from relay.text.strict_json import dump_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

DEFAULT_TIMEOUT_S: Final = 20

#: How data is sent: as JSON, as a form of either kind, or as the bytes that a base64 text encodes.
Encoding: TypeAlias = Literal["json", "form", "multipart", "base64"]


@dataclass(frozen=True, slots=True)
class Shape:
    """What a caller may send. The API process reads it, so it contains nothing of the target."""

    webhook_id: str
    method: str
    fillable_headers: tuple[str, ...] = ()
    query_params: tuple[str, ...] = ()
    encoding: Encoding = "json"
    data_schema: Any = field(default=None, hash=False)
    hidden: bool = False
    idempotent: bool = False
    timeout_ms: int = DEFAULT_TIMEOUT_S * 1000
    reveal_url: bool = False
    description: str | None = None
    retry: RetryPolicy | None = None
    concurrency: int | None = None  # calls at once
    rate: Rate | None = None
    response_schema: Any = field(default=None, hash=False)
    max_age_ms: int | None = None  # how old a call may become before it is final; None: as the settings say
    callback: str | None = None  # id of the webhook that is called back at each end
    chain: bool = False
    uses: tuple[str, ...] = ()  # of a chain: the ids of the webhooks that its steps name, each once, in order
    fixed_members: Mapping[str, Any] = field(default_factory=dict, hash=False)  # names only: see `fixed_data`
    path_params: Mapping[str, str] = field(default_factory=dict, hash=False)  # names, in order, and patterns
    secrets: tuple[str, ...] = ()  # the names of the secrets to which the target refers, in order
    _validator: Any = field(default=None, init=False, repr=False, compare=False)
    _response_validator: Any = field(default=None, init=False, repr=False, compare=False)
    _patterns: dict[str, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    def schema_faults(self, data: Any) -> Iterator[tuple[str, str]]:
        """Yield the places at which ``data`` does not fit ``data_schema``: pointers, and the keywords that failed."""
        if self.data_schema is None:
            return iter(())
        if self._validator is None:  # compiled once for each Shape, or, harmlessly, twice by two threads at once
            object.__setattr__(self, "_validator", compile_schema(self.data_schema))
        return schema_faults(self._validator, data)

    def path_fault(self, name: str, value: str) -> str | None:
        """Return why a value cannot stand in the path; None if it can."""
        fault = segment_fault(value)
        if fault is not None:
            return fault
        if name not in self._patterns:
            self._patterns[name] = compile_pattern(self.path_params[name])
        return None if self._patterns[name].is_valid(value) else "does not fit its registered pattern"

    def takes_answer(self, data: Any) -> bool:
        """Return whether an answer's data fits ``response_schema``."""
        if self.response_schema is None:
            return True
        if self._response_validator is None:
            object.__setattr__(self, "_response_validator", compile_schema(self.response_schema))
        try:
            return bool(self._response_validator.is_valid(data))
        except UnicodeEncodeError:  # a member's name with half of a surrogate pair
            return False

    @property
    def repeatable(self) -> bool:
        """Whether a call may be sent again when its outcome is unknown; true of a chain, which sends nothing itself."""
        return self.chain or self.idempotent or self.method in IDEMPOTENT_METHODS

    def to_json(self) -> bytes:
        """Return compact JSON, the same bytes for the same shape."""
        return dump_json(
            {
                "id": self.webhook_id,
                "method": self.method,
                "fillableHeaders": self.fillable_headers,
                "queryParams": self.query_params,
                "encoding": self.encoding,
                "dataSchema": self.data_schema,
                "hidden": self.hidden,
                "idempotent": self.idempotent,
                "timeoutMs": self.timeout_ms,
                "revealUrl": self.reveal_url,
                "description": self.description,
                "retry": self.retry and self.retry.to_value(),
                "concurrency": self.concurrency,
                "rate": self.rate and str(self.rate),
                "responseSchema": self.response_schema,
                **({"pathParams": self.path_params} if self.path_params else {}),
                **({"fixedMembers": self.fixed_members} if self.fixed_members else {}),
                **({} if self.max_age_ms is None else {"maxAgeMs": self.max_age_ms}),
                **({} if self.callback is None else {"callback": self.callback}),
                "chain": self.chain,
                "uses": self.uses,
                **({"secrets": self.secrets} if self.secrets else {}),
            }
        )

    @classmethod
    def from_json(cls, raw: bytes) -> Self:
        """Read the shape that ``to_json`` wrote."""
        value = json.loads(raw)
        return cls(
            webhook_id=value["id"],
            method=value["method"],
            fillable_headers=tuple(value["fillableHeaders"]),
            query_params=tuple(value["queryParams"]),
            fixed_members=value.get("fixedMembers", {}),
            path_params=value.get("pathParams", {}),
            encoding=value["encoding"],
            data_schema=value["dataSchema"],
            hidden=value["hidden"],
            idempotent=value["idempotent"],
            timeout_ms=value["timeoutMs"],
            reveal_url=value["revealUrl"],
            description=value["description"],
            retry=RetryPolicy.from_value(value["retry"]) if value["retry"] else None,
            concurrency=value["concurrency"],
            rate=read_rate(value["rate"]) if value["rate"] else None,
            response_schema=value["responseSchema"],
            max_age_ms=value.get("maxAgeMs"),
            callback=value.get("callback"),
            chain=value["chain"],
            uses=tuple(value["uses"]),
            secrets=tuple(value.get("secrets", ())),
        )
