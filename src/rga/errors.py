"""The errors that a user sees: their messages are for people, and the command line prints them without a traceback."""


class ConfigError(ValueError):
    """A config, an override or a table file that does not make sense."""


class OutsideError(RuntimeError):
    """A path in what somebody has sent leads out of its folder."""


class DataError(RuntimeError):
    """The data on disk are not what was expected; the message says what was expected, and where."""
