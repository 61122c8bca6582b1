"""The model on a vLLM server of its own."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from typing import TYPE_CHECKING

from anymal_eval import fingerprint
from anymal_eval.models.openai import OpenAIModel
from anymal_eval.models.openai.connection import Address, connect
from anymal_eval.models.vllm.process import Report, ServerProcess

if TYPE_CHECKING:
    from pathlib import Path

    from anymal_eval.models.vllm.command import Launch
    from anymal_eval.models.vllm.options import Options
    from anymal_eval.records import MediaKind


class VllmModel(OpenAIModel):
    """A chat model whose server lives as long as it. Close it."""

    def __init__(self, options: Options, kinds: frozenset[MediaKind], launch: Launch, report: Report) -> None:
        self._process = ServerProcess(launch.command, launch.environment, report)
        try:
            self._process.start(options.start_timeout)
            address = Address(self._process.url, self._process.key, launch.name)
            recovery = Recovery(self._process, options.start_timeout)
            connection = connect(options, kinds, address, "vllm", recovery.recovered)
            # Its command line has it read all frames of a clip.
            abilities = dataclasses.replace(connection.abilities, most_frames=None)
            connection = dataclasses.replace(connection, abilities=abilities)
            super().__init__(options, kinds, connection)
        except BaseException:
            self._process.close()
            raise
        lasting = {name: value for name, value in launch.content.items() if name not in ("checkpoint", "revision")}
        identity = [lasting, dict(launch.how), sorted(kinds), options.max_image_side, options.sample_rate,
                    options.video]  # fmt: skip
        self.fingerprint = f"vllm:{fingerprint.of(identity)}"
        described = {name: value for name, value in self.provenance.items() if name not in ("url", "models")}
        self.provenance = {**described, **launch.content, **launch.how, "options": dataclasses.asdict(options)}
        if options.trust_remote_code:
            self.remark = "trust_remote_code"
        if connection.abilities.lacking:
            report(f"the vLLM server lacks {connection.abilities.lacking}")

    def keep_log(self, folder: Path) -> None:
        """Keep the server's log in a run folder."""
        self._process.log.move_to(folder)

    def close(self) -> None:
        """Cancel what is in flight, and end the server."""
        try:
            super().close()
        finally:
            self._process.close()


class Recovery:
    """Starts a server that died once more, for all the requests that it failed."""

    def __init__(self, process: ServerProcess, patience_s: float) -> None:
        """``patience_s``: seconds until it must be ready."""
        self._process, self._patience_s = process, patience_s
        self._lock = asyncio.Lock()
        self._restarted = 0.0

    async def recovered(self, since: float) -> bool:
        """Whether the server was started again after ``since`` (``time.monotonic``), now or for another request.

        Raises:
            IncompleteRun: it died for the second time.
        """
        async with self._lock:
            if since < self._restarted:
                return True
            if await asyncio.to_thread(self._process.is_alive):
                return False
            await asyncio.to_thread(self._process.restart, self._patience_s)
            self._restarted = time.monotonic()
            return True
