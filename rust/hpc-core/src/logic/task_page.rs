//! Task pages: what the log's reports say of single tasks, beside what the state knows of them.
//!
//! The state keeps sets of tasks that ended alike; times, memory and cpu seconds of each stand in the
//! columns of the reports ([`super::columns`]). The log knows which rows speak of a job. [`Reports`]
//! looks once through these and remembers which row speaks of which tasks, 16 bytes for each range
//! that a report names; a [`TaskPage`] then needs no more than the rows of its own tasks. Both are fed
//! by whoever has the log, a piece at a time.

use std::collections::BTreeMap;

use super::columns::told;
use super::plan::OwnKinds;
use crate::domain::entry::{Body, LogRow, StoredEvent};
use crate::domain::event::{Ctx, KernelKind};
use crate::domain::json::{Map, Value, decode};
use crate::lattice::tasks::TaskSet;

/// A report of more ranges than this is remembered by its first and last task.
const SPANS_MAX: usize = 8;

/// What a row of a page has from the log.
const FIELDS: [&str; 6] = [
    "started_at",
    "finished_at",
    "duration_s",
    "peak_memory_bytes",
    "cpu_seconds",
    "detail",
];

/// Which rows of the log report on which tasks of one job.
#[derive(Debug)]
pub struct Reports {
    job_id: String,
    /// First task, last task, first seq of the row; in the order of the log.
    spans: Vec<(u32, u32, u64)>,
    position: u64,
}

impl Reports {
    /// Nothing is known of the log yet.
    #[must_use]
    pub fn new(job_id: &str) -> Self {
        Self {
            job_id: job_id.to_owned(),
            spans: Vec::new(),
            position: 0,
        }
    }

    /// Seq of the last event that was looked at.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Looks through the next rows that speak of the job, for a page that knows which kinds report.
    ///
    /// # Errors
    /// A row that cannot be read; those before it are known.
    pub fn note(&mut self, page: &TaskPage, rows: &[LogRow]) -> Result<(), String> {
        for row in rows {
            let last = row.first_seq + u64::from(row.count) - 1;
            if last <= self.position {
                continue;
            }
            if !row.body.is_empty() {
                let body = Body::decode(&row.body)?;
                for event in body.events() {
                    self.note_event(&page.own_kinds, &event, row.first_seq);
                }
            }
            self.position = last;
        }
        Ok(())
    }

    fn note_event(&mut self, own_kinds: &OwnKinds, event: &StoredEvent<'_>, first_seq: u64) {
        let kind = || own_kinds.kernel_kind(event.kind, event.ctx);
        let is_report = event.ctx.str("job_id") == Some(&self.job_id)
            && matches!(
                kind(),
                Some(KernelKind::JobStarted | KernelKind::JobFinished)
            );
        let Some(tasks) = Ctx::new(event.ctx).tasks().filter(|_| is_report) else {
            return;
        };
        let mut ranges = tasks.ranges();
        if ranges.len() > SPANS_MAX
            && let (Some(first), Some(last)) = (tasks.first(), tasks.last())
        {
            ranges = vec![(first, last)];
        }
        for (first, last) in ranges {
            match self.spans.last_mut() {
                // Most batches report on neighbours, one after the other.
                Some(span) if span.2 == first_seq && first <= span.1 + 1 && last + 1 >= span.0 => {
                    *span = (span.0.min(first), span.1.max(last), first_seq);
                }
                _ => self.spans.push((first, last, first_seq)),
            }
        }
    }

    /// The first seqs of the rows that may say something of the tasks of a page, in order.
    #[must_use]
    pub fn places(&self, page: &TaskPage) -> Vec<u64> {
        let wanted: Vec<u32> = page.rows.keys().copied().collect();
        let is_wanted = |first: u32, last: u32| {
            let next = wanted.partition_point(|task| *task < first);
            wanted.get(next).is_some_and(|task| *task <= last)
        };
        let mut places: Vec<u64> = Vec::new();
        for (first, last, first_seq) in &self.spans {
            if *first_seq <= page.cursor
                && places.last() != Some(first_seq)
                && is_wanted(*first, *last)
            {
                places.push(*first_seq);
            }
        }
        places
    }
}

/// Which report speaks for a task, and what it says.
#[derive(Debug)]
struct Row {
    attempt: i64,
    node_id: String,
    is_finished: bool,
    said: BTreeMap<&'static str, Value<'static>>,
}

/// A page of tasks as the state knows them, on its way to being whole.
#[derive(Debug)]
pub struct TaskPage {
    page: Map<'static>,
    job_id: String,
    cursor: u64,
    own_kinds: OwnKinds,
    /// The tasks that have an attempt which may have started.
    rows: BTreeMap<u32, Row>,
    tasks: TaskSet,
}

impl TaskPage {
    /// Takes up what the engine answered to `tasks`.
    ///
    /// # Errors
    /// It is none of ours.
    pub fn new(text: &[u8]) -> Result<Self, String> {
        let Value::Map(mut page) = decode(text)?.into_owned() else {
            return Err("A page of tasks is a map".to_owned());
        };
        let own_kinds = OwnKinds::of(&page);
        page.remove("acts_as");
        let job_id = match page.remove("job_id") {
            Some(Value::Str(job_id)) => job_id.to_string(),
            _ => return Err("A page of tasks names its job".to_owned()),
        };
        let data = page.get("data").and_then(Value::as_list).unwrap_or(&[]);
        let mut rows = BTreeMap::new();
        let mut tasks = TaskSet::new();
        for row in data.iter().filter_map(Value::as_map) {
            let task = row.int("task").and_then(|task| u32::try_from(task).ok());
            if let (Some(task), Some(attempt)) = (task, row.int("attempt"))
                && row.str("state") != Some("leased")
            {
                tasks.insert(task);
                let row = Row {
                    attempt,
                    node_id: row.str("node_id").unwrap_or_default().to_owned(),
                    is_finished: false,
                    said: BTreeMap::new(),
                };
                rows.insert(task, row);
            }
        }
        let cursor = page.int("cursor").and_then(|seq| u64::try_from(seq).ok());
        Ok(Self {
            cursor: cursor.unwrap_or_default(),
            page,
            job_id,
            own_kinds,
            rows,
            tasks,
        })
    }

    /// Whether the log can say anything of its tasks.
    #[must_use]
    pub fn needs_log(&self) -> bool {
        !self.rows.is_empty()
    }

    /// The seq up to which it tells.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Takes in what rows of the log say; they come in order.
    ///
    /// # Errors
    /// A row that cannot be read.
    pub fn fill(&mut self, rows: &[LogRow]) -> Result<(), String> {
        for row in rows.iter().filter(|row| !row.body.is_empty()) {
            let body = Body::decode(&row.body)?;
            for (index, event) in body.events().enumerate() {
                if row.first_seq + index as u64 <= self.cursor {
                    self.take(&event);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, event: &StoredEvent<'_>) {
        let ctx = Ctx::new(event.ctx);
        let is_finish = match self.own_kinds.kernel_kind(event.kind, event.ctx) {
            Some(KernelKind::JobFinished) => true,
            Some(KernelKind::JobStarted) => false,
            _ => return,
        };
        let Some(tasks) = ctx.tasks().filter(|_| ctx.job_id() == Some(&self.job_id)) else {
            return;
        };
        if tasks.is_disjoint(&self.tasks) {
            return;
        }
        let attempt = event.ctx.int("attempt").unwrap_or_default();
        let node_id = ctx.node_id().unwrap_or_default();
        for (index, task) in tasks.iter().enumerate() {
            // Of an attempt the first report counts, as it does for the state.
            if let Some(row) = self.rows.get_mut(&task)
                && row.attempt == attempt
                && row.node_id == node_id
                && !row.is_finished
            {
                row.is_finished = is_finish;
                row.learn(event.spec, index);
            }
        }
    }

    /// The answer: `{"cursor", "data", "next"}`.
    #[must_use]
    pub fn body(&self) -> Vec<u8> {
        let mut page = self.page.clone();
        if let Some(Value::List(mut data)) = page.remove("data") {
            for row in &mut data {
                self.complete(row);
            }
            page.insert("data", Value::List(data));
        }
        let mut out = Vec::with_capacity(1024);
        page.write(&mut out);
        out
    }

    fn complete(&self, row: &mut Value<'static>) {
        let Value::Map(row) = row else { return };
        let task = row.int("task").and_then(|task| u32::try_from(task).ok());
        let found = task.and_then(|task| self.rows.get(&task));
        for field in FIELDS {
            let said = found.and_then(|row| row.said.get(field)).cloned();
            if said.is_some() || field != "detail" {
                row.insert(field, said.unwrap_or(Value::Null));
            }
        }
    }
}

impl Row {
    fn learn(&mut self, spec: &Map<'_>, index: usize) {
        for field in FIELDS {
            if let Some(value) = told(spec, field, index) {
                self.said.insert(field, value.clone().into_owned());
            }
        }
        let ms = |field| match self.said.get(field) {
            Some(Value::Int(ms)) => Some(*ms),
            _ => None,
        };
        if let (Some(started), Some(finished)) = (ms("started_at"), ms("finished_at")) {
            #[expect(clippy::cast_precision_loss, reason = "durations are below 2^53 ms")]
            let seconds = finished.saturating_sub(started).max(0) as f64 / 1000.0;
            self.said.insert("duration_s", Value::Float(seconds));
        }
    }
}
