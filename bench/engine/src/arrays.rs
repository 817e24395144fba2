//! An array of a million tasks in the Hub's memory: queued, done, and with one in twenty failed.

use crate::desk::Desk;
use crate::measure::{live_bytes, timed};

/// Tasks of the array.
const TASKS: u32 = 1_000_000;
/// Tasks of a lease: a relay with so many slots.
const LEASE: u32 = 1_000;

/// kB above a Hub without it, and ms to submit it.
pub struct Array {
    /// When it is queued.
    pub queued: f64,
    /// When every task has succeeded.
    pub done: f64,
    /// When one in twenty has failed, at random.
    pub failed: f64,
    /// To submit it.
    pub submit_ms: f64,
}

const NAMESPACE: &str = r#"{"type":"RegisterNamespace","ns_id":"batch","spec":{"handler_type":"none","schema":{"SubmitJob":[{"key":"command","expected_type":"String"}]}}}"#;

/// Runs it.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn run() -> Array {
    let mut desk = Desk::with(&[NAMESPACE]);
    let empty = live_bytes();
    let ((), submit) = timed(|| submit(&mut desk, "a"));
    let kb = |bytes: usize| bytes.saturating_sub(empty) as f64 / 1e3;
    let queued = kb(live_bytes());
    work(&mut desk, "a", |_| true);
    let done = kb(live_bytes());
    let mut desk = Desk::with(&[NAMESPACE]);
    let empty = live_bytes();
    submit_again(&mut desk);
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    work(&mut desk, "b", |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        !state.is_multiple_of(20)
    });
    let failed = live_bytes().saturating_sub(empty) as f64 / 1e3;
    Array { queued, done, failed, submit_ms: submit as f64 / 1e6 }
}

fn submit_again(desk: &mut Desk) {
    submit(desk, "b");
}

fn submit(desk: &mut Desk, id: &str) {
    let body = format!(r#"{{"events":[{{"kind":"SubmitJob","payload":{{"ctx":{{"ns_id":"batch","job_id":"{id}","tasks":"0-{}"}},"spec":{{"command":"true"}}}}}}]}}"#, TASKS - 1);
    desk.ask("ingest", "", body.as_bytes());
}

/// A relay claims and reports until all is over; the ids of its batches are numbered, as a relay's are.
fn work(desk: &mut Desk, id: &str, mut succeeds: impl FnMut(u32) -> bool) {
    let mut n = 0;
    let mut left = TASKS;
    while left > 0 {
        n += 1;
        let claim = format!(r#"{{"node_id":"n1","host":"h","place":"p","session":"s","epoch":1,"n":{n},"ns":["batch"],"resources":{{"slots":{LEASE},"cpus":{LEASE},"memory_mib":1000000}},"max":{LEASE},"wait":0,"holds":[]}}"#);
        let answer = desk.ask("claim", "", claim.as_bytes());
        let answer: serde_json::Value = serde_json::from_slice(&answer).expect("JSON");
        let grants = answer["grants"].as_array().expect("grants");
        assert!(!grants.is_empty(), "{answer}");
        let mut events = Vec::new();
        for grant in grants {
            let tasks = grant["tasks"].as_str().expect("tasks");
            let (attempt, count) = (&grant["attempt"], count(tasks));
            left -= count;
            let codes: Vec<&str> = (0..count).map(|task| if succeeds(task) { "0" } else { "1" }).collect();
            let codes = codes.join(",");
            let ctx = format!(r#"{{"ns_id":"batch","job_id":"{id}","tasks":"{tasks}","attempt":{attempt},"node_id":"n1","epoch":1}}"#);
            events.push(format!(r#"{{"kind":"JobFinished","payload":{{"ctx":{ctx},"spec":{{"exit_code":[{codes}]}}}}}}"#));
        }
        let body = format!(r#"{{"id":"s{id}/{n}","events":[{}]}}"#, events.join(","));
        desk.ask("ingest", "", body.as_bytes());
    }
    let job = desk.ask("job", &format!("job_id={id}"), b"");
    let job: serde_json::Value = serde_json::from_slice(&job).expect("JSON");
    let counts = &job["data"]["counts"];
    let over = counts["succeeded"].as_u64().unwrap_or(0) + counts["failed"].as_u64().unwrap_or(0);
    assert_eq!(over, u64::from(TASKS), "{counts}");
}

fn count(tasks: &str) -> u32 {
    let ranges = tasks.split(',').map(|part| part.split_once('-').unwrap_or((part, part)));
    let number = |text: &str| text.parse::<u32>().expect("a number");
    ranges.map(|(first, last)| number(last) - number(first) + 1).sum()
}
