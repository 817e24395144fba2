//! The events that are measured: three for each job, and samples of nodes.

use std::fmt::Write as _;

/// Jobs whose events are interleaved, as in a queue that is worked on.
const WINDOW: usize = 1_000;

/// The namespace of three kinds, and the generator of four columns that reads them.
pub const NAMESPACE: &str = r#"{"type":"RegisterNamespace","ns_id":"work","spec":{"schema":{
 "Submitted":[{"key":"phase","required":true,"expected_type":"Int"},{"key":"priority","required":true,"expected_type":"Int"}],
 "Started":[{"key":"phase","required":true,"expected_type":"Int"}],
 "Finished":[{"key":"phase","required":true,"expected_type":"Int"},{"key":"code","required":true,"expected_type":"Int"}]}}}"#;

/// Reads every one of the events.
pub const GENERATOR: &str = r#"{"namespaces":["work"],"rules":[
 {"on":["Submitted","Started","Finished"],"table":"jobs","key":"$ctx.job_id","join":{"phase":{"max":"$spec.phase"}}},
 {"on":"Submitted","table":"jobs","key":"$ctx.job_id","join":{"ns":{"once":"$ctx.ns_id"},"priority":{"max":"$spec.priority"}}},
 {"on":"Finished","table":"jobs","key":"$ctx.job_id","join":{"code":{"once":"$spec.code"}}}]}"#;

/// The events of `jobs` jobs in the order of a queue: each a JSON text.
pub fn job_events(jobs: usize) -> Vec<String> {
    let mut events = Vec::with_capacity(3 * jobs);
    let event = |kind: &str, job: usize, spec: &str| {
        format!(
            r#"{{"at":{},"kind":"{kind}","payload":{{"ctx":{{"job_id":"job-{job:013}","ns_id":"work"}},"spec":{spec}}}}}"#,
            1_700_000_000_000_u64 + job as u64
        )
    };
    for step in 0..jobs + 2 * WINDOW {
        if step < jobs {
            let priority = step % 7;
            let spec = format!(r#"{{"phase":1,"priority":{priority}}}"#);
            events.push(event("Submitted", step, &spec));
        }
        if (WINDOW..jobs + WINDOW).contains(&step) {
            events.push(event("Started", step - WINDOW, r#"{"phase":2}"#));
        }
        if step >= 2 * WINDOW {
            events.push(event(
                "Finished",
                step - 2 * WINDOW,
                r#"{"code":0,"phase":3}"#,
            ));
        }
    }
    events
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
