"""A pool of Ray actors of one class, which take units of work as they become free.

An actor sends what is done of a unit in parts. When it dies, another replaces it and gets the rest of the units in
flight: what was received is kept.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from anymal_eval.engine.ray_processes import Guard, descendants
from anymal_eval.errors import AnyMALEvalError, NeedsExtra, WrongUse

IN_FLIGHT = 2  # units per actor, so that none waits for the driver
UNITS_PER_ACTOR = 8  # at least, so that all actors end at about the same time
MAX_DEATHS = 3  # actors in a row that may die during a unit before it fails
CONNECT_S = 10.0
STORE_BYTES = 256 << 20  # the messages are small; by default Ray takes a third of the memory

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """The number of workers, the GPUs of each, and a running cluster's address (None starts one on this machine).

    ``option`` is what the user's command calls it, for messages.
    """

    workers: int = 2
    gpus_per_worker: float = 0.0
    address: str | None = None
    option: str = "--engine ray"


@dataclass(kw_only=True)
class Unit(Generic[T]):
    """One unit of work, and how many actors died during it without sending a part."""

    content: list[T]
    deaths: int = 0


class Pool:
    """The driver's side of the actors."""

    def __init__(self, actor: type, recipe: Any, cluster: Cluster, at_once: int = 1) -> None:
        """Start the actors.

        Args:
            actor: their class.
            recipe: its only argument, sent to each actor: what to load.
            cluster: the number of actors, and where they run.
            at_once: units that an actor works on at the same time.

        Raises:
            NeedsExtra: Ray is not installed.
            WrongUse: no cluster at this address.
        """
        before = descendants()
        self._ray = _start(cluster)
        self._guard = None if cluster.address is not None else Guard(before)
        options = {"num_cpus": 1, "num_gpus": cluster.gpus_per_worker, "max_concurrency": at_once}
        self._actor = self._ray.remote(**options)(actor)
        self._recipe = recipe
        self.actors = [self._actor.remote(recipe) for _ in range(cluster.workers)]

    def get(self, reference: Any) -> Any:
        """Wait for a result; an ``AnyMALEvalError`` raised by an actor is raised here."""
        from ray.exceptions import RayTaskError

        try:
            return self._ray.get(reference)
        except RayTaskError as error:
            if isinstance(error.cause, AnyMALEvalError):
                raise error.cause from None
            raise

    def run(self, units: Iterable[Unit[T]], call: Callable[[Any, list[T]], Any]) -> Iterator[tuple[Unit[T], Any]]:
        """Distribute the units, in order.

        The caller removes from ``unit.content`` what a part has done: after the death of an actor the unit is given to
        another as it is then, and dropped where it is empty.

        Args:
            units: the units of work.
            call: starts a unit on an actor, by a method that is a generator.

        Yields:
            A unit and a part of its result, as parts arrive; None where too many actors died during the unit.
        """
        todo = deque(units)
        pending: dict[Any, tuple[Any, Unit[T]]] = {}
        while todo or pending:
            self._assign(todo, pending, call)
            for stream in self._ray.wait(list(pending), num_returns=1)[0]:
                actor, unit = pending[stream]
                part = next(stream, None)
                if part is None:
                    del pending[stream]
                    continue
                alive, result = self.result(part, actor, unit)
                if not alive:
                    del pending[stream]
                    if unit.content and unit.deaths < MAX_DEATHS:
                        todo.append(unit)
                        continue
                if alive or unit.content:
                    yield unit, result

    def result(self, done: Any, actor: Any, unit: Unit[T]) -> tuple[bool, Any]:
        """Whether the actor was alive, and the part of a result; a dead actor is replaced."""
        from ray.exceptions import RayActorError

        try:
            result = self.get(done)
            unit.deaths = 0
            return True, result
        except RayActorError:
            unit.deaths += 1
            self.actors = [self._actor.remote(self._recipe) if one is actor else one for one in self.actors]
            return False, None

    def close(self) -> None:
        """Stop the actors, and the cluster if it was started here."""
        for actor in self.actors:
            self._ray.kill(actor)
        self._ray.shutdown()
        if self._guard is not None:
            self._guard.close()

    def _assign(
        self, todo: deque[Unit[T]], pending: dict[Any, tuple[Any, Unit[T]]], call: Callable[[Any, list[T]], Any]
    ) -> None:
        for _ in range(IN_FLIGHT):
            for actor in self.actors:
                if todo and sum(one is actor for one, _ in pending.values()) < IN_FLIGHT:
                    unit = todo.popleft()
                    pending[call(actor, unit.content)] = (actor, unit)


def unit_size(count: int, workers: int, most: int) -> int:
    """How many of ``count`` items go into a unit; at most ``most``.

    >>> unit_size(1000, 2, 64), unit_size(1000, 2, 16), unit_size(3, 2, 64)
    (63, 16, 1)
    """
    return max(1, min(most, -(-count // (workers * UNITS_PER_ACTOR))))


def _start(cluster: Cluster) -> Any:
    try:
        import ray
    except ImportError:
        raise NeedsExtra(f"{cluster.option} needs Ray: pip install 'anymal_eval[ray]'") from None
    if cluster.address is not None:
        _check_reachable(cluster.address)
    on_sigterm = signal.getsignal(signal.SIGTERM)
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
    if on_sigterm is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, on_sigterm)  # Ray's own handler would exit with 1, and without a word
    return ray


def _check_reachable(address: str) -> None:
    # Ray itself retries for minutes where nothing listens at the address.
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon:
        return
    try:
        socket.create_connection((host, int(port)), timeout=CONNECT_S).close()
    except (OSError, ValueError) as error:
        raise WrongUse(f"--address {address}: no Ray cluster there: {error}") from None
