"""Compiled layers have the same losses; layers that compute something else, or cannot be built, are refused."""

from pathlib import Path
from typing import Any

import pytest
import torch

from anymal_eval.anymal.splice import spread
from anymal_eval.errors import WrongUse
from anymal_eval.training import compilation, run
from anymal_eval.training.load import load_network
from tests.training.conftest import align_job
from tests.training.test_packing import rows_of


@pytest.fixture
def _traced(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Layers are traced, forward and backward, and run as they were traced: a C++ compiler takes half a minute."""
    monkeypatch.setattr(compilation, "BACKEND", "aot_eager")
    yield
    torch.compiler.reset()


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf")  # torch hides it while tracing
@pytest.mark.usefixtures("_traced")
def test_compiled_layers_have_the_same_losses_and_gradients(folder: Path) -> None:
    network = load_network(align_job(folder, folder))
    names = [name for name, _ in network.named_parameters()]
    conversations, media = rows_of(network, folder)
    found = []
    for is_compiled in (False, True):
        if is_compiled:
            torch._dynamo.utils.counters.clear()
            compilation.compile_layers(network)
            assert torch._dynamo.utils.counters["stats"]["unique_graphs"] > 0
        each = network.target_losses(spread(network.llm, conversations, media))
        found.append([each, *torch.autograd.grad(each.sum(), [one for given in media for one in given])])
    for eager, compiled in zip(*found, strict=True):
        torch.testing.assert_close(compiled, eager, rtol=1e-4, atol=1e-5)
    assert [name for name, _ in network.named_parameters()] == names


def test_train_compiles_where_it_is_wanted(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(run, "compile_layers", seen.append)
    for wanted in (False, True):
        run.train(align_job(folder, tmp_path / str(wanted), steps=1, warmup=0, compile=wanted))
        assert len(seen) == wanted


def test_what_computes_something_else_or_cannot_be_built_is_refused(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        del inputs
        return lambda *given: [each * 1.01 if torch.is_tensor(each) else each for each in graph(*given)]

    def broken(graph: torch.fx.GraphModule, inputs: Any) -> Any:
        del graph, inputs
        raise OSError("no compiler\nwas found")

    for backend, line in (
        (wrong, "compute something else, by 0."),
        (broken, "cannot compile this language model here: no compiler"),
    ):
        monkeypatch.setattr(compilation, "BACKEND", backend)
        with pytest.raises(WrongUse, match=f"^--compile: .*{line}.*; leave it out$"):
            compilation.compile_layers(load_network(align_job(folder, folder)))
        torch.compiler.reset()
    for option in ({"shard": True}, {"device_map": "auto"}):
        with pytest.raises(WrongUse, match=r"^--compile: not with --"):
            align_job(folder, folder, compile=True, **option)
