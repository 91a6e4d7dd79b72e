"""Floor 1: how a user declares a task. ``@task`` returns a value and registers nothing; discovery collects the values."""
