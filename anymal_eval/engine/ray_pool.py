"""Ray actors of one class, and units of work handed out to them as they come free.

When an actor dies, another is started in its place and what it had is handed out again: of that nothing was taken.
"""

from __future__ import annotations

import logging
import os
import socket
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from anymal_eval.errors import AnyMALEvalError, NeedsExtra, WrongUse

IN_FLIGHT = 2  # units an actor has, so that none waits for the driver
SHARES = 8  # units an actor gets at least, so that all end at about the same time
MOST_DEATHS = 3  # actors that may die over a unit before it is given up
REACHED_S = 10.0
STORE_BYTES = 256 << 20  # what goes to and fro is small; Ray would take a third of the memory

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """How many workers, the GPUs of each, and the running cluster's address (None starts one on this machine)."""

    workers: int = 2
    gpus_per_worker: float = 0.0
    address: str | None = None


@dataclass(kw_only=True)
class Unit(Generic[T]):
    """What is handed out at once, and how many actors died over it."""

    content: list[T]
    deaths: int = 0


class Pool:
    """The driver's side of some actors."""

    def __init__(self, actor: type, recipe: Any, cluster: Cluster, at_once: int = 1) -> None:
        """Start them.

        Args:
            actor: their class, made with ``recipe``.
            recipe: what each of them is to load; it is sent.
            cluster: how many, and where.
            at_once: units that one works on at the same time.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address.
        """
        self._ray = _start(cluster)
        options = {"num_cpus": 1, "num_gpus": cluster.gpus_per_worker, "max_concurrency": at_once}
        self._actor = self._ray.remote(**options)(actor)
        self._recipe = recipe
        self.actors = [self._actor.remote(recipe) for _ in range(cluster.workers)]

    def get(self, reference: Any) -> Any:
        """A result, or the error of ours that was raised over there."""
        from ray.exceptions import RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, AnyMALEvalError):
                raise error.cause from None
            raise

    def run(self, units: Iterable[Unit[T]], call: Callable[[Any, list[T]], Any]) -> Iterator[tuple[Unit[T], Any]]:
        """Hand out the units, in order.

        Args:
            units: of work.
            call: starts the work on an actor and gives the reference of its result.

        Yields:
            Each unit as it is done, with its result; None where too many actors died over it.
        """
        todo = deque(units)
        pending: dict[Any, tuple[Any, Unit[T]]] = {}
        while todo or pending:
            self._hand_out(todo, pending, call)
            for done in self._ray.wait(list(pending), num_returns=1)[0]:
                actor, unit = pending.pop(done)
                alive, result = self.result(done, actor, unit)
                if alive or unit.deaths >= MOST_DEATHS:
                    yield unit, result
                else:
                    todo.append(unit)

    def result(self, done: Any, actor: Any, unit: Unit[T]) -> tuple[bool, Any]:
        """Whether the actor lived to give a result, and the result; a dead one is replaced."""
        from ray.exceptions import RayActorError

        try:
            return True, self.get(done)
        except RayActorError:
            unit.deaths += 1
            self.actors = [self._actor.remote(self._recipe) if one is actor else one for one in self.actors]
            return False, None

    def close(self) -> None:
        """End the actors, and the cluster if it was started here."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._ray.shutdown()

    def _hand_out(
        self, todo: deque[Unit[T]], pending: dict[Any, tuple[Any, Unit[T]]], call: Callable[[Any, list[T]], Any]
    ) -> None:
        for _ in range(IN_FLIGHT):
            for actor in self.actors:
                if todo and sum(one is actor for one, _ in pending.values()) < IN_FLIGHT:
                    unit = todo.popleft()
                    pending[call(actor, unit.content)] = (actor, unit)


def share(count: int, workers: int, most: int) -> int:
    """How many of ``count`` pieces of work a unit has, at most ``most``.

    >>> share(1000, 2, 64), share(1000, 2, 16), share(3, 2, 64)
    (63, 16, 1)
    """
    return max(1, min(most, -(-count // (workers * SHARES))))


def _start(cluster: Cluster) -> Any:
    try:
        import ray
    except ImportError:
        raise NeedsExtra("--engine ray needs Ray: pip install 'anymal_eval[ray]'") from None
    if cluster.address is not None:
        _knock(cluster.address)
    own: dict[str, Any] = {"num_cpus": max(cluster.workers, os.cpu_count() or 1), "object_store_memory": STORE_BYTES}
    try:
        ray.init(
            address=cluster.address or "local",
            include_dashboard=None if cluster.address else False,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **({} if cluster.address else own),
        )
    except (ConnectionError, ValueError, RuntimeError) as error:
        raise WrongUse(f"--address {cluster.address}: no Ray cluster can be used: {error}".splitlines()[0]) from None
    return ray


def _knock(address: str) -> None:
    """Ray itself tries an address where nothing listens for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=REACHED_S).close()
    except (OSError, ValueError) as error:
        raise WrongUse(f"--address {address}: no Ray cluster there: {error}") from None
