"""What a run does: how many invocations of which webhooks, with which fsync policy, and from which seed."""

from __future__ import annotations

from dataclasses import dataclass

PLUGIN = "chaos"
LEASE_MARGIN_S = 3
STOP_TIMEOUT_S = 8
AWAIT_S = 4


@dataclass(frozen=True)
class Hook:
    """A webhook of the run. It gets ``share`` of every thousand invocations, but at most ``most`` in all."""

    id: str
    share: int
    method: str
    timeout_s: int
    path: str = "hook"  # "hook": the receiver sometimes misbehaves; "nobody": nothing listens there
    retry: tuple[int, ...] | None = None  # the statuses that are retried; None: no retry policy
    concurrency: int | None = None
    rate: str | None = None
    most: int | None = None
    steps: tuple[str, ...] = ()  # of a chain: the webhooks that it calls, in order

    @property
    def repeatable(self) -> bool:
        return self.method != "POST"

    def document(self, base_url: str, closed_url: str) -> dict[str, object]:
        """Return its registration."""
        if self.steps:
            steps = [{"webhook": step, "onError": "continue"} for step in self.steps]
            return {"id": self.id, "timeout": self.timeout_s, "steps": steps}
        at = closed_url if self.path == "nobody" else base_url
        retry = {"attempts": 4, "initial": 0.2, "factor": 2, "maximum": 2}
        optional = {
            "retry": None if self.retry is None else retry | {"statuses": list(self.retry)},
            "concurrency": self.concurrency,
            "rate": self.rate,
        }
        fixed = {"id": self.id, "url": f"{at}/{self.id}", "method": self.method, "timeout": self.timeout_s}
        return fixed | {name: value for name, value in optional.items() if value is not None}


HOOKS = (
    Hook("once", 320, "POST", 2),
    Hook("put", 200, "PUT", 2),
    Hook("retried", 150, "POST", 2, retry=(503,)),
    Hook("again", 120, "PUT", 1, retry=(429, 500, 503)),
    Hook("capped", 80, "POST", 2, concurrency=6, most=6_000),
    Hook("paced", 20, "POST", 2, rate="25/s", most=1_000),
    Hook("slow", 20, "POST", 1, most=4_000),
    Hook("nobody", 30, "POST", 1, path="nobody", most=200),
    Hook("linked", 60, "POST", 120, most=2_000, steps=("once", "put", "retried")),
)
BY_ID = {hook.id: hook for hook in HOOKS}


@dataclass(frozen=True)
class Plan:
    """One run."""

    seed: int
    invocations: int
    fsync: str  # "always" or "everysec"
    workers: int = 2  # for the bulk lanes; one more serves the interactive lane
    seconds: float = 40.0  # the time over which triggers are sent
    power_loss: bool = False  # once, the server loses what a power loss costs under `everysec`
    plugins: tuple[str, ...] = (PLUGIN,)  # each plugin has all webhooks
    part: tuple[int, int] = (0, 1)  # of several runs, each begins with its part of the kinds of faults

    @property
    def hooks(self) -> tuple[Hook, ...]:
        """Return the webhooks of this run; none with chains if power is lost, because steps would be lost unnoticed."""
        return tuple(hook for hook in HOOKS if not (hook.steps and self.power_loss))
