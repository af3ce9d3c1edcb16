"""The exit codes of commands, as docs/reference/exit-codes.md has them; 0 is yes, or done."""

NO = 1
USAGE = 2
UNKNOWN = 3
INTERRUPTED = 130
