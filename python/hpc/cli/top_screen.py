"""The screen of `hpc top`, by textual: what `top_board.py` has read, and keys for a job.

The only module that imports textual. A thread reads the Hub, at most once a second; where it does
not answer a line says so, what was read stays, and it is asked again. Nothing is sent but a cancel
that somebody has said yes to. Texts of jobs are never markup.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from typing import ClassVar, Final

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from hpc.cli import wording
from hpc.cli.progress import newest_running
from hpc.cli.top_board import JOB_HEADS, Board, fitted, job_cells
from hpc.client import Client
from hpc.errors import HpcError
from hpc.terminal import clean

EACH_S: Final = 1.0
NEWEST: Final = 100
LOG_BYTES: Final = 8000


def _tell(ended: threading.Event, app: App[None], show: Callable[..., object], *args: str) -> None:
    """Have something shown by the thread of the screen, unless it is ended or ends meanwhile."""
    if not ended.is_set():
        with contextlib.suppress(RuntimeError):
            app.call_from_thread(show, *args)


class Pane(ModalScreen[None]):
    """A text about a job, read again each second until it is closed.

    Args:
        app: Whose screen it is.
        title: Of which job, and what.
        read: Returns the text; called by a thread of its own.
        follows: Its end is shown, until somebody scrolls up.
    """

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "dismiss", "back"),
        Binding("q", "dismiss", "back", show=False),
    ]

    def __init__(
        self, app: App[None], title: str, read: Callable[[], str], *, follows: bool
    ) -> None:
        super().__init__()
        self._top = app
        self._title = title
        self._read = read
        self._follows = follows
        self._gone = threading.Event()

    def compose(self) -> ComposeResult:
        """Lay it out."""
        with VerticalScroll(id="pane"):
            yield Static("…", id="text", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        self.query_one("#pane").border_title = self._title
        threading.Thread(target=self._go_on, daemon=True).start()

    def on_unmount(self) -> None:
        """Read no more."""
        self._gone.set()

    def _go_on(self) -> None:
        while not self._gone.is_set():
            try:
                text = self._read()
            except HpcError as error:
                text = error.message
            _tell(self._gone, self._top, self._show, clean(text))
            self._gone.wait(EACH_S)

    def _show(self, text: str) -> None:
        pane, old = self.query_one("#pane", VerticalScroll), self.query_one("#text", Static)
        was_at_end = pane.is_vertical_scroll_end
        old.update(text)
        if self._follows and was_at_end:
            pane.scroll_end(animate=False)


class Question(ModalScreen[bool]):
    """Asks for a yes."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "answer(True)", "yes"),
        Binding("n,escape,q", "answer(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(f"{self._text}\n\ny  yes     n  no", id="question", markup=False)

    def action_answer(self, is_yes: bool) -> None:
        """Close it with an answer."""
        self.dismiss(is_yes)


class Top(App[None]):
    """The screen.

    Args:
        hub: Of no patience: what cannot be read now is read the next time.
    """

    TITLE = "hpc top"
    ENABLE_COMMAND_PALETTE = False
    CSS = """
    Screen { layout: vertical; }
    #away { display: none; background: $error; color: $text; height: 1; }
    #away.is-away { display: block; }
    #head { height: 3; }
    #nodes { height: auto; max-height: 30%; margin-top: 1; }
    #jobs { height: 1fr; margin-top: 1; }
    #events { height: 25%; min-height: 3; margin-top: 1; }
    #pane { border: round $accent; margin: 1 2; background: $surface; }
    #question { border: round $error; background: $surface; padding: 1 2; }
    #question { width: auto; height: auto; }
    Question { align: center middle; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("w", "why", "why"),
        Binding("l", "log", "log"),
        Binding("k", "cancel", "cancel"),
        Binding("q", "quit", "quit"),
    ]

    def __init__(self, hub: Client) -> None:
        super().__init__()
        self._hub = hub
        self._board = Board(hub, newest=NEWEST)
        self._ended = threading.Event()
        self._rows: dict[str, list[str]] = {}

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="away", markup=False)
        yield Static(id="head", markup=False)
        with VerticalScroll(id="nodes", can_focus=False):
            yield Static(id="node_lines", markup=False)
        yield DataTable[Text](id="jobs", cursor_type="row", zebra_stripes=True)
        yield Static(id="events", markup=False)
        yield Footer()

    def on_mount(self) -> None:
        """Begin to read."""
        table = self._table
        table.add_columns(*JOB_HEADS)
        table.focus()
        threading.Thread(target=self._go_on, daemon=True).start()

    def on_unmount(self) -> None:
        """Read no more."""
        self._ended.set()

    def on_resize(self) -> None:
        """Cut lines anew."""
        self._show(None)

    def action_why(self) -> None:
        """Show why the job of the cursor waits, or how it ended."""
        if (job_id := self._chosen()) is not None:
            hub = self._hub.again()
            self.push_screen(Pane(self, f"why {job_id}", lambda: _why(hub, job_id), follows=False))

    def action_log(self) -> None:
        """Show the end of what its newest task has written."""
        if (job_id := self._chosen()) is not None:
            hub = self._hub.again()
            self.push_screen(
                Pane(self, f"log of {job_id}", lambda: _log(hub, job_id), follows=True)
            )

    def action_cancel(self) -> None:
        """Cancel it, if somebody says yes."""
        if (job_id := self._chosen()) is None:
            return

        def answered(is_yes: bool | None) -> None:
            if is_yes:
                threading.Thread(target=self._cancel, args=(job_id,), daemon=True).start()

        self.push_screen(Question(f"Cancel job {job_id}?"), answered)

    @property
    def _table(self) -> DataTable[Text]:
        found: DataTable[Text] = self.screen_stack[0].query_one("#jobs", DataTable)
        return found

    def _chosen(self) -> str | None:
        """Return the id of the job of the cursor; None where there is no job."""
        table = self._table  # and not the board, which may have been read anew meanwhile
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.ordered_rows[table.cursor_row].key.value

    def _cancel(self, job_id: str) -> None:
        hub = self._hub.again()
        try:
            with hub:
                hub.cancel(job_id)
            said = f"job {job_id} cancelled"
        except HpcError as error:
            said = clean(error.message)
        _tell(self._ended, self, lambda: self.notify(said, markup=False))

    def _go_on(self) -> None:
        """Read once a second until the end."""
        while not self._ended.is_set():
            try:
                self._board.look(time.monotonic())
                away = ""
            except HpcError as error:
                away = f"{error.message}; asking again"
            _tell(self._ended, self, self._show, away)
            self._ended.wait(EACH_S)

    def _show(self, away: str | None) -> None:
        """Draw what was read; `away` is why it is old, empty where it is not, None: as before."""
        if not self.is_running or not self.screen_stack[0].query("#events"):
            return
        screen, board, columns = self.screen_stack[0], self._board, self.size.width
        if away is not None:
            line = screen.query_one("#away", Static)
            line.update(clean(away))
            line.set_class(bool(away), "is-away")
        screen.query_one("#head", Static).update("\n".join(board.head(columns)))
        screen.query_one("#node_lines", Static).update("\n".join(board.node_lines(columns - 2)))
        events = screen.query_one("#events", Static)
        rows = max(events.size.height, 3)
        events.update("\n".join(board.event_lines(columns)[-rows:]))
        self._fill()

    def _fill(self) -> None:
        """Put the jobs into the table; the cursor stays on its job."""
        table, chosen = self._table, self._chosen()
        rows = {str(job["job_id"]): fitted(job_cells(job)) for job in self._board.jobs}
        if rows == self._rows:
            return
        self._rows = rows
        table.clear()
        for job_id, cells in rows.items():
            table.add_row(*map(Text, cells), key=job_id)
        if chosen in rows:
            table.move_cursor(row=table.get_row_index(chosen))


def _why(hub: Client, job_id: str) -> str:
    info, told = hub.info(job_id), hub.why(job_id)
    lines = [told.get("why") or wording.outcome(info)]
    lines += [f"{node['node_id']}: {node['why']}" for node in told.get("nodes") or ()]
    return "\n".join(lines)


def _log(hub: Client, job_id: str) -> str:
    info = hub.info(job_id)
    _, task = newest_running([info]) or (job_id, None)
    texts = []
    for stream in ("stdout", "stderr"):
        with hub.log(job_id, task, stream=stream, last=LOG_BYTES) as pieces:
            text = b"".join(pieces).decode(errors="replace")
        if text:
            texts.append(f"--- {stream}\n{text}")
    return "\n".join(texts) or "no output yet"
