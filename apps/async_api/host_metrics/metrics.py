"""What clients are told: the difference of two readings, in units that people and programs can use."""

from datetime import datetime
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from host_metrics.readings import CpuTime, Reading, Traffic

Percent = Annotated[float, Field(ge=0, le=100, examples=[12.5])]
Bytes = Annotated[int, Field(ge=0, examples=[2147483648])]
BytesPerSecond = Annotated[float, Field(ge=0, examples=[18432.0])]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Cpu(_Frozen):
    """How busy the processors were during the period. Waiting for a disk counts as idle."""

    total_percent: Percent = Field(description="All cores together")
    core_percent: list[Percent] = Field(description="Each core, in the kernel's order")


class Memory(_Frozen):
    """Memory in bytes. What the kernel could give back at once counts as available."""

    total: Bytes
    used: Bytes
    available: Bytes
    used_percent: Percent
    swap_total: Bytes
    swap_used: Bytes


class Load(_Frozen):
    """Processes running or waiting for a core or a disk, averaged."""

    one_minute: float = Field(ge=0, examples=[0.42])
    five_minutes: float = Field(ge=0, examples=[0.36])
    fifteen_minutes: float = Field(ge=0, examples=[0.31])


class Interface(_Frozen):
    """The traffic of one network interface during the period."""

    name: str = Field(examples=["eth0"])
    received_per_second: BytesPerSecond
    sent_per_second: BytesPerSecond


class Metrics(_Frozen):
    """The state of the host. Percentages of CPU and network rates are averages over the period that ended at `at`."""

    host: str = Field(description="The host's name", examples=["web1"])
    at: datetime = Field(description="When the host was read, UTC")
    period_seconds: float = Field(ge=0, description="The time that averages and rates cover", examples=[1.0])
    uptime_seconds: float = Field(ge=0, examples=[86400.0])
    cpu: Cpu
    memory: Memory
    load: Load
    network: list[Interface] = Field(
        description="All interfaces but the loopback. No sum: what passes a bridge would be counted twice"
    )


def between(before: Reading, after: Reading) -> Metrics:
    """What happened from one reading to a later one."""
    period = after.clock - before.clock
    return Metrics(
        host=after.host,
        at=after.at,
        period_seconds=round(period, 3),
        uptime_seconds=after.uptime,
        cpu=Cpu(
            total_percent=_busy_percent(before.cpu, after.cpu),
            # A core that was switched on meanwhile has no earlier reading and is left out until it has.
            core_percent=[_busy_percent(*core) for core in zip(before.cores, after.cores, strict=False)],
        ),
        memory=_memory(after.memory),
        load=Load(one_minute=after.load[0], five_minutes=after.load[1], fifteen_minutes=after.load[2]),
        network=_network(before.interfaces, after.interfaces, period),
    )


def _busy_percent(before: CpuTime, after: CpuTime) -> float:
    return _percent(after.busy - before.busy, after.total - before.total)


def _percent(part: int, whole: int) -> float:
    # The kernel lets idle time run backwards a little, so a part may be negative or above the whole.
    return round(min(100.0, max(0.0, 100 * part / whole)), 1) if whole > 0 else 0.0


def _memory(sizes: dict[str, int]) -> Memory:
    total, available = sizes["MemTotal"], sizes["MemAvailable"]
    return Memory(
        total=total,
        used=total - available,
        available=available,
        used_percent=_percent(total - available, total),
        swap_total=sizes["SwapTotal"],
        swap_used=sizes["SwapTotal"] - sizes["SwapFree"],
    )


def _network(before: dict[str, Traffic], after: dict[str, Traffic], period: float) -> list[Interface]:
    def per_second(earlier: int, later: int) -> float:
        # Counters start anew when an interface is made anew.
        return round(max(0, later - earlier) / period, 1)

    return [
        Interface(
            name=name,
            received_per_second=per_second(before[name].received, traffic.received),
            sent_per_second=per_second(before[name].sent, traffic.sent),
        )
        for name, traffic in after.items()
        if name in before
    ]
