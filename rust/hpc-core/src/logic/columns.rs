//! JobFinished's columns: each field one value for all tasks, or a list in ascending task order.

use std::collections::BTreeMap;

use crate::domain::json::{Map, Value};
use crate::domain::problem::FieldError;
use crate::lattice::tasks::TaskSet;

/// How a task ended.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ending {
    /// Exit code, where it exited.
    pub exit_code: Option<i64>,
    /// Signal, where one ended it.
    pub signal: Option<i64>,
    /// Why, where it is not an exit with 0.
    pub cause: Option<String>,
}

impl Ending {
    /// Exit code 0 and no other cause.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        self.exit_code == Some(0) && self.signal.is_none() && self.cause.is_none()
    }

    /// The cause, by name.
    #[must_use]
    pub fn cause(&self) -> &str {
        match &self.cause {
            Some(cause) => cause,
            None if self.signal.is_some() => "signal",
            None => "exit",
        }
    }
}

/// What is known of the tasks that ended alike.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Which tasks.
    pub tasks: TaskSet,
    /// The earliest start, ms since 1970.
    pub started_at: Option<i64>,
    /// The latest end, ms since 1970.
    pub finished_at: Option<i64>,
    /// The greatest peak, in bytes.
    pub peak_memory_bytes: Option<i64>,
    /// The sum, in seconds.
    pub cpu_seconds: f64,
    /// The sum of the durations, in ms.
    pub duration_ms: i64,
    /// What the first of them that said more said; all of it stands in the log.
    pub detail: Option<String>,
}

/// The causes that a report may name.
pub const CAUSES: [&str; 11] = [
    "exit",
    "signal",
    "oom",
    "time limit",
    "output limit",
    "lost",
    "cancelled",
    "dependency",
    "not found",
    "cwd not found",
    "refused",
];

/// The greatest cpu time of a task, so that sums stay numbers.
const CPU_SECONDS_MAX: i64 = 1_000_000_000_000;

const FIELDS: [&str; 8] = [
    "cause",
    "cpu_seconds",
    "detail",
    "exit_code",
    "finished_at",
    "peak_memory_bytes",
    "signal",
    "started_at",
];

/// Checks the columns of a report on `count` tasks.
pub fn check(spec: &Map<'_>, count: u64, errors: &mut Vec<FieldError>) {
    for (key, value) in spec.iter() {
        let field = || format!("spec.{key}");
        if !FIELDS.contains(&key) {
            let error = FieldError::new(field(), "a field of JobFinished", "an unknown field");
            errors.push(error.hint(format!("known: {}", FIELDS.join(", "))));
            continue;
        }
        let fits = |value: &Value<'_>| match key {
            "cause" => value.as_str().is_some_and(|text| CAUSES.contains(&text)),
            "detail" => value.as_str().is_some(),
            "cpu_seconds" => match value {
                Value::Int(n) => (0..=CPU_SECONDS_MAX).contains(n),
                #[expect(clippy::cast_precision_loss, reason = "a power of ten")]
                Value::Float(x) => (0.0..=CPU_SECONDS_MAX as f64).contains(x),
                _ => false,
            },
            "exit_code" | "signal" => matches!(value, Value::Int(_)),
            _ => matches!(value, Value::Int(n) if *n >= 0),
        };
        let expected = match key {
            "cause" => "a cause, such as exit, signal, oom or time limit",
            "detail" => "String",
            "cpu_seconds" => "seconds from 0 to 1e12",
            "exit_code" | "signal" => "Int",
            _ => "Int from 0",
        };
        match value {
            Value::List(list) if u64::try_from(list.len()) != Ok(count) => {
                errors.push(FieldError::new(
                    field(),
                    format!("one value, or {count} values"),
                    format!("{} values", list.len()),
                ));
            }
            Value::List(list) => {
                let bad = list.iter().find(|v| **v != Value::Null && !fits(v));
                if let Some(bad) = bad {
                    errors.push(FieldError::new(field(), expected, bad.shown()));
                }
            }
            Value::Null => {}
            value if !fits(value) => errors.push(FieldError::new(field(), expected, value.shown())),
            _ => {}
        }
    }
    let endings = ["exit_code", "signal", "cause"].map(|key| spec.get(key));
    let says = |index: usize| {
        endings.iter().flatten().any(|column| match column {
            Value::List(list) => list.get(index).is_some_and(|v| *v != Value::Null),
            value => **value != Value::Null,
        })
    };
    let lists = endings.iter().flatten().filter_map(|c| c.as_list());
    let rows = lists.map(<[_]>::len).max().unwrap_or(1);
    if errors.is_empty() && !(0..rows).all(says) {
        errors.push(FieldError::new(
            "spec.exit_code",
            "exit_code, signal or cause of every task",
            "nothing",
        ));
    }
}

/// Groups those tasks of a report that are kept by how they ended; `tasks` are all that it names,
/// in whose order its lists stand.
#[must_use]
pub fn group(spec: &Map<'_>, tasks: &TaskSet, keep: &TaskSet) -> BTreeMap<Ending, Figures> {
    let mut groups: BTreeMap<Ending, Figures> = BTreeMap::new();
    let columns = FIELDS.map(|key| spec.get(key));
    if !columns.iter().any(|c| matches!(c, Some(Value::List(_)))) {
        let row = Row { columns, index: 0 };
        let mut figures = row.figures();
        figures.tasks = tasks.intersection(keep);
        if !figures.tasks.is_empty() {
            figures.multiply(figures.tasks.len());
            groups.insert(row.ending(), figures);
        }
        return groups;
    }
    for (index, task) in tasks.iter().enumerate() {
        if !keep.contains(task) {
            continue;
        }
        let row = Row { columns, index };
        groups
            .entry(row.ending())
            .or_default()
            .absorb(task, &row.figures());
    }
    groups
}

/// What a report says in a field of the task that stands at `index` among those that it names.
#[must_use]
pub fn told<'s>(spec: &'s Map<'s>, field: &str, index: usize) -> Option<&'s Value<'s>> {
    let told = match spec.get(field)? {
        Value::List(list) => list.get(index)?,
        value => value,
    };
    (*told != Value::Null).then_some(told)
}

impl Figures {
    fn absorb(&mut self, task: u32, other: &Self) {
        self.tasks.insert(task);
        self.join(other);
    }

    /// Makes the figures of one task those of `count` alike.
    fn multiply(&mut self, count: u64) {
        #[expect(clippy::cast_precision_loss, reason = "counts are below 2^53")]
        let factor = count as f64;
        self.cpu_seconds *= factor;
        let count = i64::try_from(count).unwrap_or(i64::MAX);
        self.duration_ms = self.duration_ms.saturating_mul(count);
    }

    /// Takes in what another group says; the tasks stay.
    pub fn join(&mut self, other: &Self) {
        self.started_at = least(self.started_at, other.started_at);
        self.finished_at = self.finished_at.max(other.finished_at);
        self.peak_memory_bytes = self.peak_memory_bytes.max(other.peak_memory_bytes);
        self.cpu_seconds += other.cpu_seconds;
        self.duration_ms = self.duration_ms.saturating_add(other.duration_ms);
        if self.detail.is_none() {
            self.detail.clone_from(&other.detail);
        }
    }
}

/// The lesser of two times of which each may be unknown.
#[must_use]
pub fn least(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

struct Row<'s> {
    columns: [Option<&'s Value<'s>>; 8],
    index: usize,
}

impl Row<'_> {
    fn get(&self, field: &str) -> Option<&Value<'_>> {
        let place = FIELDS.iter().position(|f| *f == field)?;
        match self.columns.get(place).copied().flatten()? {
            Value::List(list) => list.get(self.index),
            value => Some(value),
        }
    }

    fn int(&self, field: &str) -> Option<i64> {
        match self.get(field)? {
            Value::Int(n) => Some(*n),
            _ => None,
        }
    }

    fn text(&self, field: &str) -> Option<String> {
        self.get(field)?.as_str().map(str::to_owned)
    }

    fn ending(&self) -> Ending {
        Ending {
            exit_code: self.int("exit_code"),
            signal: self.int("signal"),
            cause: self.text("cause"),
        }
    }

    fn figures(&self) -> Figures {
        let (started_at, finished_at) = (self.int("started_at"), self.int("finished_at"));
        let duration = finished_at.zip(started_at);
        let duration = duration.map(|(end, start)| end.saturating_sub(start));
        #[expect(clippy::cast_precision_loss, reason = "seconds of cpu time are small")]
        let cpu_seconds = match self.get("cpu_seconds") {
            Some(Value::Float(x)) => *x,
            Some(Value::Int(n)) => *n as f64,
            _ => 0.0,
        };
        Figures {
            tasks: TaskSet::new(),
            started_at,
            finished_at,
            peak_memory_bytes: self.int("peak_memory_bytes"),
            cpu_seconds,
            duration_ms: duration.unwrap_or_default().max(0),
            detail: self.text("detail"),
        }
    }
}
