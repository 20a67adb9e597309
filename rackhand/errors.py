"""The errors that a user can cause."""


class UserError(Exception):
    """A mistake in options or input: one clear message for the user, exit code 5, no traceback."""
