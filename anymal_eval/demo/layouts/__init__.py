"""One file a task: how its benchmark lays out annotations and media. ``write(folder, plan)`` is all each one has."""
