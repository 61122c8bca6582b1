"""Says why a metric cannot be computed on this machine."""

import shutil

from anymal_eval.metrics import Metric
from anymal_eval.metrics._spice_models import missing_models


def missing(metric: Metric) -> str | None:
    """Why ``metric`` cannot be computed here, in words for "not computed: ..."; None where it can.

    What the answers must hold (``p_yes``) is not looked at: it differs from run to run.
    """
    if "java" in metric.needs and shutil.which("java") is None:
        return "no Java runtime on the PATH"
    if "spice_models" in metric.needs:
        return missing_models()
    return None
