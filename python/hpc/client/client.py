"""`Client`: a connection to one Hub, to write events to it and to read what it knows."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, TypeVar
from urllib.parse import quote

from hpc import submission
from hpc.access import Access, check_pin, home, pinned, read_access
from hpc.client import ending
from hpc.client.events import Events
from hpc.client.job import Job, ids
from hpc.client.patience import AWAY_S_MAX, Patience
from hpc.errors import HpcError, NoHub, NotFound
from hpc.transport.http_client import HttpClient, Query, Stream

if TYPE_CHECKING:
    from hpc.client.graph import Graph

PAGE: Final = 1000
TAKE_AT: Final = frozenset({"/pull", "/jobs", "/nodes", "/explain", "/conflicts"})
"""Routes that can be asked how things were, beside that of one job."""
SSE_IDLE_S: Final = 60.0
"""The Hub says something every 15 s on a stream of events."""

T = TypeVar("T")


class Client:
    """A connection to one Hub, found by the environment or the access file where nothing is said.

    Args:
        url: Of the Hub.
        token: That opens it.
        tls_sha256: Of the certificate that it must have, in hexadecimal digits.
        home: Instead of `$HPC_HOME`.
        timeout_s: For one request.
        patience_s: How long a Hub that was there is asked again when it does not answer.
        on_away: Told, once each time, why it is asked again.
        at: A cursor: jobs, nodes and pulls are told as they were when the log ended there.

    Attributes:
        at: As given.
        cursor: The greatest seq that an answer has told: what was read is true up to there.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        token: str | None = None,
        tls_sha256: str | None = None,
        home: str | os.PathLike[str] | None = None,
        timeout_s: float = 30.0,
        patience_s: float = 10.0,
        on_away: Callable[[str], None] | None = None,
        at: int | None = None,
    ) -> None:
        self.cursor = 0
        self.at = at
        self._url = url
        self._token = token
        self._tls_sha256 = check_pin(tls_sha256)
        self._home = None if home is None else Path(home)
        self._patience = Patience(patience_s, on_away)
        self._http = HttpClient(self._read_access, timeout_s=timeout_s)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connection; it is opened again when something is sent."""
        self._http.close()

    # Writing

    def submit(
        self,
        command: str | Sequence[str],
        *,
        cpu: int = 1,
        memory: int | str | None = None,
        gpus: int | None = None,
        resources: Mapping[str, int] | None = None,
        require: Mapping[str, str] | None = None,
        key: str | None = None,
        name: str | None = None,
        priority: int | None = None,
        tasks: str | None = None,
        entries: Sequence[Any] | None = None,
        env: Mapping[str, str] | None = None,
        cwd: str | os.PathLike[str] | None = None,
        time_limit: float | str | None = None,
        after: Sequence[Job | str] = (),
        after_any: Sequence[Job | str] = (),
        after_fail: Sequence[Job | str] = (),
        after_task: bool = False,
        hold: bool = False,
        **more: Any,  # noqa: ANN401 - each is checked by batch_spec
    ) -> Job:
        """Submit a job of the namespace `batch`; see `submission.batch_spec` for what it takes.

        Args:
            command: A text for the shell, or the program and its arguments.
            cpu: Cores of each task.
            memory: MiB, or a text such as `4G`; enforced. None reserves 1 GiB.
            gpus: GPUs of each task.
            resources: Amounts of what relays offer by name, such as `{"fpgas": 2}`.
            require: Labels that the relay must have.
            key: The job's id; the same key with the same spec is the same job. None makes one.
            name: A label.
            priority: Higher runs first; None is 0.
            tasks: Ranges such as `0-99` or `0-99:2`; None is one task.
            entries: One JSON value for each task, from task 0 on, which finds it in `HPC_ENTRY`;
                with `expand=True` also in the place of `{}` in the command. Instead of `tasks`.
            env: Added to the relay's environment.
            cwd: An absolute folder; None is a folder of the task's own.
            time_limit: Seconds, or a text such as `1h30m`.
            after: Jobs that must have succeeded first; where one does not, this one is cancelled.
            after_any: Jobs that must have ended first, in whatever way.
            after_fail: Jobs of which a task must have failed first.
            after_task: Each task comes after the tasks of its number only.
            hold: Nothing starts until `Job.release`.
            more: `stdin`, `stdout`, `stderr`, `grace`, `on_cut_off`, `expand`, `retries`,
                `retry_on`, `max_fails`, `throttle`, `nodes`, `exclude`, `exclusive`,
                `max_per_node`, `min_time`, `warn_signal`, `output_limit`, `umask`, `ulimits`.

        Raises:
            TypeError: There is no argument of that name; nothing was sent.
            HpcError: Nothing was recorded, except for `Unanswered`, which leaves it unknown: the
                same call with the same `key` is safe.
        """
        submission.check_names("Client.submit", more, Client.submit)
        spec = submission.batch_spec(
            command,
            cpu=cpu,
            memory=memory,
            gpus=gpus,
            resources=resources,
            require=require,
            env=env,
            cwd=cwd,
            time_limit=time_limit,
            **more,
        )
        gate = submission.gate_of(
            after=ids(after),
            after_any=ids(after_any),
            after_fail=ids(after_fail),
            after_task=after_task,
            hold=hold,
        )
        return self.submit_spec(
            "batch",
            spec,
            key=key,
            name=name,
            priority=priority,
            tasks=tasks,
            entries=entries,
            gate=gate,
        )

    def submit_spec(
        self,
        ns_id: str,
        spec: Mapping[str, Any],
        *,
        kind: str = "SubmitJob",
        key: str | None = None,
        name: str | None = None,
        priority: int | None = None,
        tasks: str | None = None,
        entries: Sequence[Any] | None = None,
        gate: Mapping[str, Any] | None = None,
    ) -> Job:
        """Submit a job of any namespace; see `submit`, and `submission.gate_of` for `gate`.

        What is longer than a batch takes goes as several, one after the other; if one of them is
        not recorded, those before it are, and the same call with the same `key` adds the rest.
        """
        # Imported here: most commands submit nothing.
        from hpc import arrays  # noqa: PLC0415

        job_id = submission.new_job_id() if key is None else key
        sent = submission.submission_of(
            ns_id,
            spec,
            arrays.named(tasks, entries),
            kind=kind,
            job_id=job_id,
            name=name,
            priority=priority,
            gate=gate,
        )
        receipts = [self.ingest(batch) for batch in sent.batches]
        receipt = receipts[0]
        # The same key again may name a job that has finished long ago: then nothing will change.
        is_new = not receipt.get("duplicate") and key is None
        return Job(self, job_id, cursor=receipt.get("first_seq") if is_new else None)

    def graph(self, key: str | None = None) -> Graph:
        """Return a block whose jobs are recorded at once, or not at all; nothing is sent yet.

        Args:
            key: Begins their ids, `KEY.NAME`: the same graph with the same key is the same jobs.
                None makes one.
        """
        # Imported here: no command of one job needs it.
        from hpc.client.graph import Graph  # noqa: PLC0415

        return Graph(self, key)

    def cancel(
        self, job_id: str, *, tasks: str | None = None, reason: str | None = None
    ) -> dict[str, Any]:
        """Cancel a job or some of its tasks and return the receipt."""
        return self.request("CancelJob", job_id, tasks=tasks, reason=reason)

    def request(
        self,
        kind: str,
        job_id: str,
        *,
        tasks: str | None = None,
        reason: str | None = None,
        priority: int | None = None,
        resources: Mapping[str, int] | None = None,
    ) -> dict[str, Any]:
        """Send a request about a job, such as `HoldJob`, and return the receipt.

        Raises:
            NotFound: The Hub does not know the job.
        """
        ns_id = self.info(job_id)["ns_id"]
        event = submission.request_event(
            kind,
            ns_id,
            job_id,
            tasks=tasks,
            reason=reason,
            priority=priority,
            resources=resources,
        )
        return self.ingest([event])

    def ingest(
        self, events: Sequence[Mapping[str, Any]], *, batch_id: str | None = None
    ) -> dict[str, Any]:
        """Offer a batch and return its receipt: all of it is recorded, durably, or none.

        Raises:
            Unanswered: Unknown; `batch_id` in its hint makes the repeat safe.
            HpcError: Nothing was recorded.
        """
        batch_id = batch_id or submission.new_batch_id()
        document = {"id": batch_id, "events": list(events)}
        try:
            receipt = self._recorded(lambda: self._http.post("/ingest", document).json(), batch_id)
            return self._seen(receipt)
        except HpcError as error:
            if len(events) == 1:  # then it goes without saying which of them it is
                error.message = error.message.removeprefix("Event 0: ")
            raise

    def control(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """Register a namespace or a generator and return what the Hub answers."""
        return self._seen(
            self._patience.ask(lambda: self._http.post("/control", dict(request)).json())
        )

    # Reading

    def job(self, job_id: str) -> Job:
        """Refer to a job by its id; nothing is sent."""
        return Job(self, job_id)

    def info(self, job_id: str) -> dict[str, Any]:
        """Return what the Hub knows of a job."""
        return ending.look(self, job_id)[0]

    def infos(self, job_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Return what the Hub knows of jobs, by id; a request asks for some hundreds.

        Those that it does not know, or has forgotten, are missing.
        """
        return ending.look_at_many(self, job_ids)[0]

    def why(self, job_id: str) -> dict[str, Any]:
        """Return why a job waits: `why` in a sentence, `nodes` one by one, `ahead` of it."""
        told: dict[str, Any] = self.read(f"/jobs/{quote(job_id, safe='')}/why")["data"]
        return told

    def jobs(self, **query: str | int) -> Iterator[dict[str, Any]]:
        """Yield jobs, oldest first; `order="desc"`, and what `GET /jobs` chooses by, choose."""
        return self._rows("/jobs", query)

    def tasks(
        self,
        job_id: str,
        *,
        state: str | None = None,
        after: int | None = None,
        limit: int | None = None,
    ) -> Iterator[dict[str, Any]]:
        """Yield the tasks of a job by number, as `GET /jobs/{id}/tasks` tells them.

        Args:
            job_id: The job.
            state: Only those in this state.
            after: Only those of a greater number.
            limit: How many will be looked at, at most; None is all. Pages are no greater than that.
        """
        query: dict[str, str | int] = {"limit": min(limit or PAGE, PAGE)}
        if state is not None:
            query["state"] = state
        rows = self._rows(f"/jobs/{quote(job_id, safe='')}/tasks", query, after)
        return islice(rows, limit)

    @property
    def url(self) -> str:
        """Where the Hub is, as it was named or the access file says."""
        return self._read_access().url

    def figures(self) -> dict[str, Any]:
        """Return what the Hub says of itself: totals by state, counts since its start, limits."""
        return self._seen(self.read("/healthz", [("full", "true")]))

    def dashboard_url(self) -> str:
        """Return a URL that opens the dashboard and logs in as this client, once, within 5 minutes.

        Raises:
            NotFound: The Hub is of a version that has none.
        """
        try:
            told = self._patience.ask(lambda: self._http.post("/ui/codes", {}).json())
        except NotFound as error:
            raise NotFound(
                f"The Hub at {self.url} has no dashboard: it is of an older version than this",
                code=error.code,
                hint="start it again by this version; what it does otherwise: hpc status",
            ) from None
        return f"{self.url}/ui/#code={told['code']}"

    def nodes(self) -> Iterator[dict[str, Any]]:
        """Yield nodes in the order of their ids."""
        return self._rows("/nodes", {})

    def read(
        self,
        path: str,
        query: Query = (),
        *,
        wait_s: float = 0.0,
        patience_s: float | None = None,
    ) -> dict[str, Any]:
        """Return one answer of a read route, such as `/namespaces`.

        Args:
            path: Of the route.
            query: As the route takes it.
            wait_s: Where the route can wait: so long, at most 60.
            patience_s: Instead of the client's.
        """
        query = self._as_then(path, query)
        if wait_s > 0:
            query = [*query, ("wait", f"{wait_s:.3f}")]
        timeout_s = self._http.timeout_s + wait_s
        answer = self._patience.ask(
            lambda: self._http.get(path, query, timeout_s=timeout_s).json(), patience_s
        )
        return self._seen(answer)

    def conflicts(self, gid: str | None = None) -> Iterator[dict[str, Any]]:
        """Yield what contradicts itself in a generator, or in any, with the events that say so."""
        return self._rows("/conflicts", {} if gid is None else {"gid": gid})

    def pull(
        self,
        gid: str,
        cursor: int = 0,
        *,
        table: str | None = None,
        row: str | None = None,
        column: str | None = None,
        limit: int | None = None,
        wait_s: float = 0.0,
        hub: str | None = None,
        patience_s: float | None = None,
    ) -> dict[str, Any]:
        """Return the facts of a generator that changed after a cursor.

        Args:
            gid: The generator.
            cursor: 0 is from the beginning.
            table: Only this one.
            row: Only this one of the table.
            column: Only this one of the row.
            limit: Rows of a page; `more` says whether there are others.
            wait_s: Wait so long for something to change; at most 60.
            hub: Of the former answer: another Hub answers whole, marked `snapshot`.
            patience_s: Instead of the client's.
        """
        query: list[tuple[str, str | int | float]] = [("gid", gid), ("cursor", cursor)]
        only = {"table": table, "row": row, "column": column, "limit": limit, "hub": hub}
        for name, value in only.items():
            if value is not None:
                query.append((name, value))
        if wait_s > 0:
            query.append(("wait", f"{wait_s:.3f}"))
        query = self._as_then("/pull", query)
        timeout_s = self._http.timeout_s + wait_s
        page = self._patience.ask(
            lambda: self._http.get("/pull", query, timeout_s=timeout_s).json(), patience_s
        )
        return self._seen(page)

    def wait(
        self, job_id: str, *, timeout_s: float | None = None, timeout: float | None = None
    ) -> dict[str, Any]:
        """Wait until every task of a job is settled and return `info`; see `Job.wait`."""
        return ending.wait(self, job_id, ending.one_of(timeout, timeout_s))

    def log(
        self,
        job_id: str,
        task: int | None = None,
        *,
        stream: str = "stdout",
        follow: bool = False,
        last: int | None = None,
    ) -> Stream:
        """Open the output of a task; close it when done.

        Args:
            job_id: Of its job.
            task: Its number; None is the job's first.
            stream: `stdout` or `stderr`.
            follow: Go on until the task is settled.
            last: Only the last so many of the bytes that there are then; None is all.
        """
        query: list[tuple[str, str | int | float]] = [("stream", stream)]
        if task is not None:
            query.append(("task", task))
        if follow:
            query.append(("follow", "true"))
        if last is not None:
            query.append(("last", last))
        path = f"/jobs/{quote(job_id, safe='')}/log"
        # Who follows waits for a Hub that has gone away as long as who waits for the job.
        patience_s = AWAY_S_MAX if follow else None
        return self._patience.ask(lambda: self._http.stream(path, query), patience_s)

    def events(
        self, cursor: int = 0, *, follow: bool = False, job: str | None = None
    ) -> Iterator[dict[str, Any]]:
        """Yield the events after a cursor; with `follow` also those to come, for ever.

        A stream that breaks is taken up again after the last event that came.

        Args:
            cursor: What is known already.
            follow: Go on with what comes; see `follow` for a way to end that.
            job: Only those that speak of this job.
        """
        only: list[tuple[str, str | int | float]] = [] if job is None else [("job", job)]
        while True:
            page = self.read("/events", [("cursor", cursor), ("limit", PAGE), *only])
            yield from page["data"]
            if not page["data"]:
                break
            cursor = page["data"][-1]["seq"]
        if follow:
            yield from self.follow(cursor, job=job)

    def follow(self, cursor: int, *, job: str | None = None) -> Events:
        """Return the events after a cursor as they come, until it is closed; nothing is sent yet.

        Args:
            cursor: What is known already.
            job: Only those that speak of this job.
        """
        return Events(self, cursor, job)

    def again(self, *, patience_s: float | None = None) -> Client:
        """Return another client of the same Hub, for another thread.

        Args:
            patience_s: Instead of this client's.
        """
        client = Client(
            self._url,
            token=self._token,
            home=self._home,
            timeout_s=self._http.timeout_s,
            patience_s=self._patience.patience_s if patience_s is None else patience_s,
            on_away=self._patience.on_away,
            at=self.at,
        )
        client._patience.was_there = self._patience.was_there
        return client

    def _stream(self, query: Query, check: Callable[[], None]) -> Stream:
        def opened() -> Stream:
            check()
            return self._http.stream("/events", query, idle_s=SSE_IDLE_S)

        return self._patience.ask(opened, AWAY_S_MAX)

    def _as_then(self, path: str, query: Query) -> list[tuple[str, str | int | float]]:
        """Add the cursor of this client, where the route takes one."""
        takes = path in TAKE_AT or (path.startswith("/jobs/") and not path.endswith("/log"))
        return [*query, ("at", self.at)] if self.at is not None and takes else list(query)

    def _seen(self, answer: dict[str, Any]) -> dict[str, Any]:
        told = [answer.get(name) or 0 for name in ("cursor", "seq", "first_seq")]
        self.cursor = max(self.cursor, *told)
        return answer

    def _rows(
        self, path: str, query: Mapping[str, str | int], begin: int | None = None
    ) -> Iterator[dict[str, Any]]:
        after: list[tuple[str, str | int | float]] = [] if begin is None else [("after", begin)]
        while True:
            page = self.read(path, [*query.items(), *after])
            yield from page["data"]
            if page.get("next") is None:  # a page may be short, or empty, and have more
                return
            after = [("after", page["next"])]

    def _read_access(self) -> Access:
        if self._url is not None and self._token is not None:
            return pinned(self._url, self._token, self._tls_sha256)
        access = read_access(self._home or home(), url=self._url)
        return pinned(
            access.url, self._token or access.token, self._tls_sha256 or access.tls_sha256
        )

    def _recorded(self, send: Callable[[], T], batch_id: str) -> T:
        try:
            return self._patience.ask(send)
        except NoHub as error:
            if error.code != NoHub.default_code:
                error.hint = (
                    f"it may have been recorded; the same again is safe with --batch-id {batch_id}"
                )
            raise
