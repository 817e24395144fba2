//! The events that are measured: three for each job, and the life of jobs as the kernel knows it.

use std::fmt::Write as _;

/// Jobs whose events are interleaved, as in a queue that is worked on.
const WINDOW: usize = 1_000;

/// Three kinds.
pub const NAMESPACE: &str = r#"{"type":"RegisterNamespace","ns_id":"work","spec":{"schema":{
 "Submitted":[{"key":"phase","required":true,"expected_type":"Int"},{"key":"priority","required":true,"expected_type":"Int"}],
 "Started":[{"key":"phase","required":true,"expected_type":"Int"}],
 "Finished":[{"key":"phase","required":true,"expected_type":"Int"},{"key":"code","required":true,"expected_type":"Int"}]}}}"#;

/// The spec of a generator of four columns that reads all of them.
pub const SPEC: &str = r#"{"namespaces":["work"],"rules":[
 {"on":["Submitted","Started","Finished"],"table":"jobs","key":"$ctx.job_id","join":{"phase":{"max":"$spec.phase"}}},
 {"on":"Submitted","table":"jobs","key":"$ctx.job_id","join":{"ns":{"once":"$ctx.ns_id"},"priority":{"max":"$spec.priority"}}},
 {"on":"Finished","table":"jobs","key":"$ctx.job_id","join":{"code":{"once":"$spec.code"}}}]}"#;

/// Its registration.
pub fn generator() -> String {
    format!(r#"{{"type":"RegisterGenerator","gid":"work","spec":{SPEC}}}"#)
}

/// Puts what happens to `jobs` jobs, in steps, into the order of a queue.
fn interleaved<const STEPS: usize>(jobs: usize, event: impl Fn(usize, usize) -> String) -> Vec<String> {
    let mut events = Vec::with_capacity(STEPS * jobs);
    for now in 0..jobs + (STEPS - 1) * WINDOW {
        for step in 0..STEPS {
            if (step * WINDOW..jobs + step * WINDOW).contains(&now) {
                events.push(event(step, now - step * WINDOW));
            }
        }
    }
    events
}

/// Three events for each job, each a JSON text.
pub fn job_events(jobs: usize) -> Vec<String> {
    interleaved::<3>(jobs, |step, job| {
        let (kind, spec) = match step {
            0 => ("Submitted", format!(r#"{{"phase":1,"priority":{}}}"#, job % 7)),
            1 => ("Started", r#"{"phase":2}"#.to_owned()),
            _ => ("Finished", r#"{"code":0,"phase":3}"#.to_owned()),
        };
        let at = 1_700_000_000_000_u64 + job as u64;
        format!(
            r#"{{"at":{at},"kind":"{kind}","payload":{{"ctx":{{"job_id":"job-{job:013}","ns_id":"work"}},"spec":{spec}}}}}"#,
        )
    })
}

/// Four events for each job of one task, as they stand in the log.
pub fn kernel_events(jobs: usize) -> Vec<String> {
    interleaved::<4>(jobs, |step, job| {
        let at = 1_700_000_000_000_u64 + job as u64;
        let lease = r#""attempt":1,"epoch":1,"node_id":"n1""#;
        let (kind, ctx, spec) = match step {
            0 => ("SubmitJob", r#""ns_id":"batch""#.to_owned(), r#"{"command":"true","cpu":1,"enforce_memory":false,"grace":5.0,"memory":1024,"on_cut_off":"finish"}"#.to_owned()),
            1 => ("JobClaimed", format!(r#"{lease},"ns_id":"batch","tasks":"0""#), r#"{"resources":{"cpus":1,"memory_mib":1024}}"#.to_owned()),
            2 => ("JobStarted", format!(r#"{lease},"tasks":"0""#), format!(r#"{{"started_at":{at}}}"#)),
            _ => ("JobFinished", format!(r#"{lease},"tasks":"0""#), format!(r#"{{"exit_code":0,"started_at":{at},"finished_at":{},"peak_memory_bytes":1048576,"cpu_seconds":0.01}}"#, at + 7)),
        };
        let settles = if step == 3 { r#","settles":{"succeeded":"0"}"# } else { "" };
        format!(
            r#"{{"at":{at},"kind":"{kind}","payload":{{"ctx":{{{ctx},"job_id":"job-{job:013}"}},"spec":{spec}}}{settles}}}"#,
        )
    })
}

/// A body of `POST /ingest` of these events, under this id.
pub fn body(id: usize, events: &[String]) -> Vec<u8> {
    let mut text = format!(r#"{{"id":"b{id}","events":["#);
    for (i, event) in events.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(text, "{comma}{event}");
    }
    text.push_str("]}");
    text.into_bytes()
}

/// The same as MessagePack.
pub fn packed(body: &[u8]) -> Vec<u8> {
    let value: serde_json::Value = serde_json::from_slice(body).expect("it is JSON");
    rmp_serde::to_vec_named(&value).expect("it has a form")
}
