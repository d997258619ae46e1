"""One file a command; each has `run(arguments, terminal) -> exit code`."""
