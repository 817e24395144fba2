//! report: folds what happened to tasks into the fewest events.
//!
//! Tasks of one lease that began (or ended, or went back) become one event over a range list, with
//! a column per figure: one value where it is the same for all of them, else a list in ascending
//! task order. The fold is a function of the records alone, so a batch that is made again from
//! disk has the same bytes.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;

use hpc_core::lattice::Lattice;
use hpc_core::lattice::tasks::TaskSet;
use serde::Serialize;

use crate::record::{Outcome, Reason, Record, Span};
use crate::work::Lease;

/// What may share an event.
#[derive(PartialEq, Eq, Hash)]
enum Key<'a> {
    Started(&'a Lease),
    Ended(&'a Lease, Option<&'a str>),
    Returned(&'a Lease, Reason),
    /// A span of several tasks has its own event: its values would be repeated for each of them.
    Alone(usize),
}

struct Group<'a> {
    lease: &'a Arc<Lease>,
    rows: Vec<Row<'a>>,
}

struct Row<'a> {
    tasks: Span,
    at: u64,
    said: Said<'a>,
}

#[derive(Clone, Copy)]
enum Said<'a> {
    Started,
    Ended(&'a Outcome),
    Returned(Reason),
}

/// The events of these records as JSON texts: what was found of the node, before its tasks go back
/// and are leased anew; then starts, then ends and returns, each in the order of their first record.
///
/// ```
/// use hpc_executor::report::events;
/// assert!(events(&[], "n1").is_empty());
/// ```
#[must_use]
pub fn events(records: &[Record], node_id: &str) -> Vec<String> {
    let mut index: HashMap<Key<'_>, usize> = HashMap::new();
    let mut groups: Vec<Group<'_>> = Vec::new();
    for (place, record) in records.iter().enumerate() {
        let Some((mut key, lease, row)) = row(record) else {
            continue;
        };
        if row.tasks.count() > 1 {
            key = Key::Alone(place);
        }
        let group = *index.entry(key).or_insert_with(|| {
            groups.push(Group {
                lease,
                rows: Vec::new(),
            });
            groups.len() - 1
        });
        if let Some(group) = groups.get_mut(group) {
            group.rows.push(row);
        }
    }
    for group in &mut groups {
        group.rows.sort_by_key(|row| row.tasks);
    }
    let is_start = |group: &&Group<'_>| {
        matches!(
            group.rows.first(),
            Some(Row {
                said: Said::Started,
                ..
            })
        )
    };
    let starts = groups.iter().filter(is_start);
    let others = groups.iter().filter(|group| !is_start(group));
    let of_tasks = starts.chain(others).map(|group| event(group, node_id));
    let of_node = records.iter().filter_map(|record| drained(record, node_id));
    of_node.chain(of_tasks).collect()
}

fn drained(record: &Record, node_id: &str) -> Option<String> {
    let Record::Drained { reason, at } = record else {
        return None;
    };
    Some(format!(
        "{{\"kind\":\"NodeDrained\",\"at\":{at},\"payload\":{{\"ctx\":{{\"node_id\":{}}},\
         \"spec\":{{\"reason\":{}}}}}}}",
        json(&node_id),
        json(reason),
    ))
}

fn row(record: &Record) -> Option<(Key<'_>, &Arc<Lease>, Row<'_>)> {
    let (key, lease, tasks, at, said) = match record {
        Record::Started { lease, tasks, at } => {
            (Key::Started(lease), lease, tasks, *at, Said::Started)
        }
        Record::Ended {
            lease,
            tasks,
            outcome,
        } => (
            Key::Ended(lease, outcome.detail.as_deref()),
            lease,
            tasks,
            outcome.finished_at,
            Said::Ended(outcome),
        ),
        Record::Returned {
            lease,
            tasks,
            reason,
            at,
        } => (
            Key::Returned(lease, *reason),
            lease,
            tasks,
            *at,
            Said::Returned(*reason),
        ),
        _ => return None,
    };
    let tasks = *tasks;
    Some((key, lease, Row { tasks, at, said }))
}

fn event(group: &Group<'_>, node_id: &str) -> String {
    let rows = &group.rows;
    let at = rows.iter().map(|row| row.at).max().unwrap_or(0);
    let mut tasks = TaskSet::new();
    for row in rows {
        if row.tasks.0 == row.tasks.1 {
            tasks.insert(row.tasks.0);
        } else {
            tasks.join(&TaskSet::range(row.tasks.0, row.tasks.1));
        }
    }
    let (kind, spec) = match rows.first().map(|row| row.said) {
        Some(Said::Ended(_)) => ("JobFinished", finished(rows)),
        Some(Said::Returned(reason)) => ("TasksReturned", format!("\"reason\":{}", json(&reason))),
        _ => ("JobStarted", started(rows)),
    };
    let lease = group.lease;
    format!(
        "{{\"kind\":\"{kind}\",\"at\":{at},\"payload\":{{\"ctx\":{{\"ns_id\":{},\"job_id\":{},\
         \"node_id\":{},\"tasks\":\"{tasks}\",\"attempt\":{},\"epoch\":{}}},\"spec\":{{{spec}}}}}}}",
        json(&lease.ns_id),
        json(&lease.job_id),
        json(&node_id),
        lease.attempt,
        lease.epoch,
    )
}

fn started(rows: &[Row<'_>]) -> String {
    let mut spec = Spec(String::new());
    spec.column("started_at", rows.iter().map(|row| Some(row.at)));
    spec.0
}

fn finished(rows: &[Row<'_>]) -> String {
    let outcomes: Vec<&Outcome> = rows
        .iter()
        .filter_map(|row| match row.said {
            Said::Ended(outcome) => Some(outcome),
            _ => None,
        })
        .collect();
    let all = || outcomes.iter().copied();
    let mut spec = Spec(String::new());
    spec.column("exit_code", all().map(|o| o.exit_code));
    spec.column("signal", all().map(|o| o.signal));
    spec.column("cause", all().map(|o| o.cause));
    spec.column("started_at", all().map(|o| o.started_at));
    spec.column("finished_at", all().map(|o| Some(o.finished_at)));
    spec.column("peak_memory_bytes", all().map(|o| o.peak_memory_bytes));
    // Micros of a task stay far below 2^53, so the quotient is the nearest double.
    #[allow(clippy::cast_precision_loss)]
    let seconds = |us: u64| us as f64 / 1e6;
    spec.column("cpu_seconds", all().map(|o| o.cpu_us.map(seconds)));
    spec.column("detail", all().take(1).map(|o| o.detail.as_deref()));
    spec.0
}

/// The inside of a JSON object that grows by columns.
struct Spec(String);

impl Spec {
    /// Adds a column: nothing where no task has a value, one value where all have the same.
    fn column<T: PartialEq + Serialize>(
        &mut self,
        name: &str,
        values: impl Iterator<Item = Option<T>> + Clone,
    ) {
        let Some(first) = values.clone().next() else {
            return;
        };
        let uniform = values.clone().all(|value| value == first);
        if uniform && first.is_none() {
            return;
        }
        let comma = if self.0.is_empty() { "" } else { "," };
        let value = if uniform {
            json(&first)
        } else {
            json(&values.collect::<Vec<_>>())
        };
        // Writing into a String cannot fail.
        let _ = write!(self.0, "{comma}\"{name}\":{value}");
    }
}

/// The one event that stands for a batch of which the Hub refused every event.
#[must_use]
pub fn all_refused(refused: &[String], session: &str, node_id: &str) -> String {
    let at = refused
        .iter()
        .filter_map(|event| {
            let event: serde_json::Value = serde_json::from_str(event).ok()?;
            event.get("at")?.as_u64()
        })
        .max()
        .unwrap_or(0);
    format!(
        "{{\"kind\":\"ReportRefused\",\"at\":{at},\"payload\":{{\"ctx\":{{\"node_id\":{}}},\
         \"spec\":{{\"origin\":{},\"count\":{}}}}}}}",
        json(&node_id),
        json(session),
        refused.len(),
    )
}

fn json<T: Serialize + ?Sized>(value: &T) -> String {
    serde_json::to_string(value).unwrap_or_else(|_| "null".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)] // a test may stop at once
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::record::Cause;

    fn lease() -> Arc<Lease> {
        Arc::new(Lease {
            ns_id: "batch".into(),
            job_id: "fit".into(),
            attempt: 1,
            epoch: 2,
        })
    }

    fn ended(task: u32, exit_code: i32, cause: Option<Cause>) -> Record {
        Record::Ended {
            lease: lease(),
            tasks: Span(task, task),
            outcome: Outcome {
                exit_code: Some(exit_code),
                cause,
                started_at: Some(5),
                finished_at: 10 + u64::from(task),
                cpu_us: Some(1500),
                ..Outcome::default()
            },
        }
    }

    #[test]
    fn tasks_of_a_lease_share_an_event_with_columns() {
        let started = |task| Record::Started {
            lease: lease(),
            tasks: Span(task, task),
            at: 5,
        };
        let records = [
            started(1),
            ended(1, 0, None),
            started(0),
            ended(0, 7, Some(Cause::Exit)),
        ];
        let events: Vec<Value> = events(&records, "n1")
            .iter()
            .map(|text| serde_json::from_str(text).unwrap())
            .collect();
        assert_eq!(events.len(), 2);
        assert_eq!(events[0]["kind"], "JobStarted");
        assert_eq!(events[0]["payload"]["spec"], json!({"started_at": 5}));
        let ctx = json!({"ns_id": "batch", "job_id": "fit", "node_id": "n1", "tasks": "0-1",
                         "attempt": 1, "epoch": 2});
        assert_eq!(events[1]["payload"]["ctx"], ctx);
        let spec = json!({"exit_code": [7, 0], "cause": ["exit", null], "started_at": 5,
                          "finished_at": [10, 11], "cpu_seconds": 0.0015});
        assert_eq!(events[1]["payload"]["spec"], spec);
        assert_eq!(events[1]["at"], 11);
    }

    #[test]
    fn what_was_found_of_the_node_comes_before_its_tasks_go_back() {
        let returned = Record::Returned {
            lease: lease(),
            tasks: Span(0, 0),
            reason: Reason::GivenBack,
            at: 4,
        };
        let drained = Record::Drained {
            reason: "--pre: \"no\"".into(),
            at: 4,
        };
        let events = events(&[returned, drained], "n1");
        let first: Value = serde_json::from_str(&events[0]).unwrap();
        let payload = json!({"ctx": {"node_id": "n1"}, "spec": {"reason": "--pre: \"no\""}});
        assert_eq!(
            first,
            json!({"kind": "NodeDrained", "at": 4, "payload": payload})
        );
        assert!(events[1].contains("TasksReturned"));
    }

    #[test]
    fn a_detail_and_a_wide_span_stand_alone() {
        let mut told = ended(3, 127, Some(Cause::NotFound));
        if let Record::Ended { outcome, .. } = &mut told {
            outcome.detail = Some("`x`: no such file".into());
        }
        let wide = Record::Returned {
            lease: lease(),
            tasks: Span(5, 999_999),
            reason: Reason::GivenBack,
            at: 4,
        };
        let events = events(&[told, ended(4, 0, None), wide], "n1");
        assert_eq!(events.len(), 3);
        assert!(events[0].contains("no such file"));
        assert!(events[2].contains("\"tasks\":\"5-999999\""));
        assert!(events[2].contains("{\"reason\":\"given_back\"}"));
    }
}
