"""The words a phone writes on its status page, and ours beside them.

The first are quoted from Cisco's administration guides for 7800, 7900 and 8800 phones (status
message tables); the second explain them. A phone shows only the first.
"""

from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """The texts of a phone's status page, without the file name some of them carry."""

    UPDATED = "Trust List updated"
    UPDATE_FAILED = "Trust List update failed"
    NO_LIST = "No Trust List installed"
    FILE_NOT_FOUND = "File Not Found"
    FILE_AUTH_ERROR = "File auth error"
    TFTP_TIMEOUT = "TFTP timeout"
    TFTP_ERROR = "TFTP error"


@dataclass(frozen=True, slots=True)
class Message:
    """One line: the phone's words, the file they are about, and why, in our words."""

    status: Status | None
    file: str
    why: str

    @property
    def text(self) -> str:
        """What the status page shows; empty where a phone would show nothing."""
        if self.status is None:
            return ""
        if self.status in (Status.UPDATED, Status.UPDATE_FAILED, Status.NO_LIST):
            return str(self.status)
        return f"{self.status} <{self.file}>"

    def line(self) -> str:
        """The phone's words and ours in one line."""
        return f"{self.text}: {self.why}" if self.text else f"{self.file}: {self.why}"
