"""Every error that hpc raises on purpose, and the exit code and wire code of each.

HpcError
├── NoHub             3    nothing answers, or it cannot record now (429, 503, 507): ask again
├── NotFound          4    an id that names nothing
├── Refused           5    not well-formed: the fields that were wrong are in `errors`
├── Conflict          6    two statements contradict each other (409)
├── NotAllowed        7    no token, a wrong one, or one whose role does not reach (401, 403)
├── UsageError        2    a flag or an argument that makes no sense
├── TimedOut          124  a wait that ended before what it waited for
├── BrokenWorker      1    a worker ended while it had a call (calls/broken.py)
└── StorageError      1    the log
    ├── StorageFull        nothing was appended; the same batch may be sent again
    ├── StorageKnown       a batch id is in the log already; nothing was appended
    ├── StorageLocked      another process has the folder
    ├── StorageForeign     not a log of ours, a newer one, or a folder that lost its log
    └── StorageDamaged     a checksum does not match; names the batch

Fields carry what a program needs; nobody parses a message.
"""

from __future__ import annotations

from typing import Any, ClassVar


class HpcError(Exception):
    """Base of all errors of this package.

    Attributes:
        message: What failed and where, what was expected, what came; no full stop at the end.
        code: A stable word for programs, such as `job_conflict`.
        field: The field or flag that was wrong, or None.
        exit_code: What a command that ends by this error exits with.
    """

    exit_code: ClassVar[int] = 1
    default_code: ClassVar[str] = "error"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code or self.default_code
        self.field = field
        self._hint: str | None = None
        self.hint = hint

    def __str__(self) -> str:
        """Return the message, also where somebody has made it say more since."""
        return self.message

    @property
    def hint(self) -> str | None:
        """What to do next, or None; a traceback shows it too, as a note."""
        return self._hint

    @hint.setter
    def hint(self, hint: str | None) -> None:
        was, self._hint = self._hint, hint
        self.__notes__ = [n for n in getattr(self, "__notes__", ()) if n != f"hint: {was}"]
        if hint is not None:
            self.add_note(f"hint: {hint}")


class NoHub(HpcError):
    """No Hub answers, or it cannot record now; what was sent may or may not be recorded.

    Attributes:
        retry_after_s: In how many seconds the Hub would be asked again, where it said so, or None.
    """

    exit_code = 3
    default_code = "no_hub"
    retry_after_s: float | None = None


class NotFound(HpcError):
    """An id, name or selector that names nothing, or a job that was forgotten (code `forgotten`).

    Attributes:
        outcome: What became of a job that was forgotten: `succeeded`, `failed` or `cancelled`.
    """

    exit_code = 4
    default_code = "not_found"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        outcome: str | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field, hint=hint)
        self.outcome = outcome


class Refused(HpcError):
    """Not well-formed; nothing was recorded.

    Attributes:
        errors: The problem document's `errors`: event, field, expected, got.
        floor: Of a log that was compacted, the seq from which on it is whole; else None.
    """

    exit_code = 5
    default_code = "not_well_formed"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        errors: list[dict[str, Any]] | None = None,
        floor: int | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field, hint=hint)
        self.errors = errors or []
        self.floor = floor


class Conflict(HpcError):
    """Another statement under the same id stands in the log.

    Attributes:
        problem: The whole problem document: `expected`, `version`, `last_epoch`, ... stand there.
    """

    exit_code = 6
    default_code = "conflict"

    def __init__(
        self,
        message: str,
        *,
        code: str | None = None,
        field: str | None = None,
        hint: str | None = None,
        problem: dict[str, Any] | None = None,
    ) -> None:
        super().__init__(message, code=code, field=field, hint=hint)
        self.problem = problem or {}


class NotAllowed(HpcError):
    """No token, a wrong one, or one whose role does not reach."""

    exit_code = 7
    default_code = "not_allowed"


class UsageError(HpcError):
    """A flag, an argument or a setting that makes no sense."""

    exit_code = 2
    default_code = "usage"


class TimedOut(HpcError):
    """A wait ended before what it waited for; nothing was changed by waiting."""

    exit_code = 124
    default_code = "timed_out"


class StorageError(HpcError):
    """The log cannot be opened, read or written; whether the last write counts is unknown."""

    default_code = "storage"


class StorageFull(StorageError):
    """No space: nothing was appended, and the same batch may be sent again."""

    default_code = "storage_full"


class StorageKnown(StorageError):
    """A batch id is in the log already: nothing was appended.

    Attributes:
        batch_id: Which.
    """

    default_code = "storage_known"

    def __init__(self, batch_id: str) -> None:
        super().__init__(f"Batch `{batch_id}` is in the log already")
        self.batch_id = batch_id


class StorageLocked(StorageError):
    """Another process has the folder; nothing was touched."""

    default_code = "storage_locked"


class StorageForeign(StorageError):
    """Not a log of ours, a newer one, or a folder that lost its log; nothing was touched."""

    default_code = "storage_foreign"


class StorageDamaged(StorageError):
    """A checksum does not match; the message names the batch and its first seq."""

    default_code = "storage_damaged"
