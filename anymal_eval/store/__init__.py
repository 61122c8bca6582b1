"""The run folder: what was asked for, the responses as they come, the scores and the measurements."""
