"""Make torchvision importable beside a CPU build of torch: ``python .ci/torchvision_on_cpu.py`` in the environment.

The package index has torchvision linked against CUDA. Beside torch without CUDA its operators do not load, and its
import fails where it registers ``nms`` and ``qnms``. No image or video processor calls these, so schemas are enough.

As a script it puts itself into the environment, where it is needed: a line of a ``.pth`` file imports it at every start
of Python, and its finder acts on the first import of torchvision alone.
"""

import importlib.abc
import shutil
import sys
import sysconfig
from pathlib import Path
from typing import Any

SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
FIRST = "torchvision._autograd_registrations"  # imported after torchvision has tried to load its own operators


class SchemaFinder(importlib.abc.MetaPathFinder):
    """Finds nothing; defines the schemas right before torchvision needs them."""

    library: Any = None

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> None:
        """Act on ``FIRST``, once."""
        del path, target
        if name != FIRST:
            return
        sys.meta_path.remove(self)
        import torch

        if torch.version.cuda is None and not hasattr(torch.ops.torchvision, "nms"):
            type(self).library = torch.library.Library("torchvision", "FRAGMENT")
            for schema in SCHEMAS:
                self.library.define(schema)


def install() -> None:
    """Put this file into the environment where torchvision is installed and cannot be imported without it."""
    import torch

    try:
        import torchvision  # noqa: F401
    except ImportError:
        return
    except RuntimeError:
        if torch.version.cuda is not None:
            raise
        packages = Path(sysconfig.get_path("purelib"))
        shutil.copy(__file__, packages / "torchvision_on_cpu.py")
        (packages / "torchvision_on_cpu.pth").write_text("import torchvision_on_cpu\n", encoding="ascii")
        print(f"torchvision_on_cpu.pth: beside torch {torch.__version__}, torchvision has no operators of its own")


if __name__ == "__main__":
    install()
else:
    sys.meta_path.insert(0, SchemaFinder())
