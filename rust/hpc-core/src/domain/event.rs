//! Events: the kinds that the kernel understands, and the fields of `ctx`.

use super::ids::{ID_EXPECTED, is_id};
use super::json::{Map, Value};
use super::problem::{FieldError, nearest};
use crate::lattice::tasks::TaskSet;

/// The most events of a batch.
pub const BATCH_EVENTS_MAX: usize = 100_000;
/// The largest event, in bytes of canonical text.
pub const EVENT_BYTES_MAX: usize = 1 << 20;
/// The longest label, in characters.
pub const NAME_CHARS_MAX: usize = 200;
/// How far ahead of the Hub's clock an event's `at` may be, in ms.
pub const AHEAD_MS_MAX: i64 = 5_000;

/// The kinds that the kernel understands in every namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KernelKind {
    /// A job of one or more tasks exists.
    SubmitJob,
    /// Settles what is unsettled of a job, or of some of its tasks.
    CancelJob,
    /// By the Hub: tasks are leased to a node.
    JobClaimed,
    /// By a relay: tasks of a lease have started.
    JobStarted,
    /// By a relay: tasks of a lease have ended.
    JobFinished,
    /// By a relay: tasks of a lease come back and count for nothing.
    TasksReturned,
    /// By the Hub: a lease ended without a result.
    AttemptLost,
    /// By the Hub, from a node's first claim of an epoch.
    NodeJoined,
    /// By a relay: the node is gone by its own will.
    NodeLeft,
    /// No new work for a node.
    NodeDrained,
    /// New work again.
    NodeUndrained,
    /// By the Hub, or on a person's word: the node was not heard of for its lease.
    NodeLost,
    /// Tasks of a job are not started until they are released.
    HoldJob,
    /// They may be.
    ReleaseJob,
    /// A job stands elsewhere in the queue.
    SetPriority,
    /// Another round for tasks that have failed or were cancelled.
    RetryJob,
    /// By a relay: a report was refused for a reason that no retry mends.
    ReportRefused,
    /// A job that is over leaves the Hub: what became of it is all that is kept.
    ForgetJob,
}

/// Who may send a kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sender {
    /// Anyone who may submit.
    Submit,
    /// A relay.
    Relay,
    /// A monitor.
    Monitor,
    /// An administrator.
    Admin,
    /// The Hub alone; from outside it is 403.
    Hub,
}

impl Sender {
    /// The sender of this name; `Hub` has none.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        match name {
            "submit" => Some(Self::Submit),
            "relay" => Some(Self::Relay),
            "monitor" => Some(Self::Monitor),
            "admin" => Some(Self::Admin),
            _ => None,
        }
    }

    /// Its name, which is that of the role that sends so.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Relay => "relay",
            Self::Monitor => "monitor",
            Self::Admin => "admin",
            Self::Hub => "hub",
        }
    }
}

impl KernelKind {
    /// All kinds with their names on the wire.
    pub const ALL: [(&'static str, Self); 18] = [
        ("SubmitJob", Self::SubmitJob),
        ("CancelJob", Self::CancelJob),
        ("JobClaimed", Self::JobClaimed),
        ("JobStarted", Self::JobStarted),
        ("JobFinished", Self::JobFinished),
        ("TasksReturned", Self::TasksReturned),
        ("AttemptLost", Self::AttemptLost),
        ("NodeJoined", Self::NodeJoined),
        ("NodeLeft", Self::NodeLeft),
        ("NodeDrained", Self::NodeDrained),
        ("NodeUndrained", Self::NodeUndrained),
        ("NodeLost", Self::NodeLost),
        ("HoldJob", Self::HoldJob),
        ("ReleaseJob", Self::ReleaseJob),
        ("SetPriority", Self::SetPriority),
        ("RetryJob", Self::RetryJob),
        ("ReportRefused", Self::ReportRefused),
        ("ForgetJob", Self::ForgetJob),
    ];

    /// The kind of this name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL
            .iter()
            .find_map(|(wire, kind)| (*wire == name).then_some(*kind))
    }

    /// Its name on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        Self::ALL
            .iter()
            .find_map(|(wire, kind)| (*kind == self).then_some(*wire))
            .unwrap_or_default()
    }

    /// Who may send it.
    #[must_use]
    pub fn sender(self) -> Sender {
        match self {
            Self::SubmitJob
            | Self::CancelJob
            | Self::HoldJob
            | Self::ReleaseJob
            | Self::SetPriority
            | Self::RetryJob
            | Self::ForgetJob => Sender::Submit,
            Self::NodeDrained | Self::NodeUndrained | Self::NodeLost => Sender::Admin,
            Self::JobStarted
            | Self::JobFinished
            | Self::TasksReturned
            | Self::NodeLeft
            | Self::ReportRefused => Sender::Relay,
            Self::JobClaimed | Self::AttemptLost | Self::NodeJoined => Sender::Hub,
        }
    }

    /// Whether it speaks of a node, and of a job at most by the way.
    #[must_use]
    pub fn is_about_node(self) -> bool {
        matches!(
            self,
            Self::NodeJoined
                | Self::NodeLeft
                | Self::NodeLost
                | Self::NodeDrained
                | Self::NodeUndrained
        )
    }

    /// The fields of `ctx` that it must have.
    #[must_use]
    pub fn required_ctx(self) -> &'static [&'static str] {
        match self {
            Self::SubmitJob => &["ns_id"],
            Self::CancelJob
            | Self::HoldJob
            | Self::ReleaseJob
            | Self::RetryJob
            | Self::ForgetJob => &["job_id"],
            Self::SetPriority => &["job_id", "priority"],
            Self::JobClaimed
            | Self::JobStarted
            | Self::JobFinished
            | Self::TasksReturned
            | Self::AttemptLost => &["job_id", "tasks", "attempt", "node_id", "epoch"],
            Self::NodeJoined | Self::NodeLeft => &["node_id", "epoch"],
            Self::NodeDrained | Self::NodeUndrained | Self::NodeLost => &["node_id"],
            Self::ReportRefused => &[],
        }
    }
}

/// The fields of `ctx`.
const CTX_FIELDS: [&str; 16] = [
    "after",
    "after_any",
    "after_fail",
    "after_task",
    "attempt",
    "entries",
    "epoch",
    "hold",
    "job_id",
    "name",
    "node_id",
    "ns_id",
    "priority",
    "slots",
    "target",
    "tasks",
];

/// The most jobs that one comes after.
pub const AFTER_MAX: usize = 10_000;

/// Checks every field of a `ctx` by itself.
pub fn check_ctx(ctx: &Map<'_>, errors: &mut Vec<FieldError>) {
    for (key, value) in ctx.iter() {
        let expected = match key {
            "ns_id" | "job_id" | "node_id" | "target" => match value.as_str() {
                Some(text) if is_id(text) => continue,
                _ => ID_EXPECTED,
            },
            "priority" => match value {
                Value::Int(_) => continue,
                _ => "Int",
            },
            "attempt" | "epoch" | "slots" => match value {
                Value::Int(n) if *n >= 1 && u32::try_from(*n).is_ok() => continue,
                _ => "Int from 1",
            },
            "name" => match value.as_str() {
                Some(text) if text.chars().count() <= NAME_CHARS_MAX => continue,
                _ => "String of at most 200 characters",
            },
            "tasks" => match value.as_str().map(TaskSet::parse) {
                Some(Ok(tasks)) if !tasks.is_empty() => continue,
                _ => "a range list such as \"0-9,12\", numbers up to 9999999",
            },
            "entries" => match value {
                Value::List(_) => continue,
                _ => "List with one value per task",
            },
            "after" | "after_any" | "after_fail" => match value.as_list() {
                Some(ids) if ids.len() <= AFTER_MAX && ids.iter().all(is_id_value) => continue,
                _ => "List of at most 10000 job ids",
            },
            "after_task" | "hold" => match value {
                Value::Bool(_) => continue,
                _ => "Bool",
            },
            _ => {
                let error =
                    FieldError::new(format!("ctx.{key}"), "a field of ctx", "an unknown field");
                errors.push(match nearest(key, CTX_FIELDS) {
                    Some(near) => error.hint(format!("did you mean `{near}`?")),
                    None => error.hint(format!("known: {}", CTX_FIELDS.join(", "))),
                });
                continue;
            }
        };
        errors.push(FieldError::new(
            format!("ctx.{key}"),
            expected,
            value.shown(),
        ));
    }
    if let Some(entries) = ctx.get("entries").and_then(Value::as_list) {
        // Without `tasks` a submit is of one.
        let tasks = ctx.str("tasks").map(TaskSet::parse);
        let tasks = tasks.map_or(1, |tasks| tasks.map_or(0, |tasks| tasks.len()));
        if tasks != 0 && u64::try_from(entries.len()) != Ok(tasks) {
            errors.push(FieldError::new(
                "ctx.entries",
                format!("one value per task: {tasks}"),
                format!("{} values", entries.len()),
            ));
        }
    }
}

fn is_id_value(value: &Value<'_>) -> bool {
    value.as_str().is_some_and(is_id)
}

/// The typed fields of a checked `ctx`.
#[derive(Clone, Copy, Debug)]
pub struct Ctx<'e> {
    map: &'e Map<'e>,
}

impl<'e> Ctx<'e> {
    /// Reads a `ctx` that [`check_ctx`] found in order.
    #[must_use]
    pub fn new(map: &'e Map<'e>) -> Self {
        Self { map }
    }

    /// All fields.
    #[must_use]
    pub fn map(&self) -> &'e Map<'e> {
        self.map
    }

    /// Namespace.
    #[must_use]
    pub fn ns_id(&self) -> Option<&'e str> {
        self.map.str("ns_id")
    }

    /// Job.
    #[must_use]
    pub fn job_id(&self) -> Option<&'e str> {
        self.map.str("job_id")
    }

    /// Node.
    #[must_use]
    pub fn node_id(&self) -> Option<&'e str> {
        self.map.str("node_id")
    }

    /// Label.
    #[must_use]
    pub fn name(&self) -> Option<&'e str> {
        self.map.str("name")
    }

    /// Priority, 0 where absent.
    #[must_use]
    pub fn priority(&self) -> i64 {
        self.map.int("priority").unwrap_or_default()
    }

    /// Attempt, 0 where absent.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.number("attempt")
    }

    /// The node's epoch, 0 where absent.
    #[must_use]
    pub fn epoch(&self) -> u32 {
        self.number("epoch")
    }

    /// Tasks, if named.
    #[must_use]
    pub fn tasks(&self) -> Option<TaskSet> {
        TaskSet::parse(self.map.str("tasks")?).ok()
    }

    /// One value per task, if given.
    #[must_use]
    pub fn entries(&self) -> Option<&'e [Value<'e>]> {
        self.map.get("entries").and_then(Value::as_list)
    }

    fn number(&self, key: &str) -> u32 {
        let n = self.map.int(key).unwrap_or_default();
        u32::try_from(n).unwrap_or_default()
    }
}
