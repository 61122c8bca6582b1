"""The run folder: the manifest, the responses as they arrive, the scores and the measurements."""
