//! Bytes of the wire to joined facts, in calls of 1,000 events; the whole again; and back from bytes.

use hpc_core::logic::hub::{Config, Hub};

use crate::desk::{Desk, NOW};
use crate::measure::{cpu_ns, timed};
use crate::workload;

/// Events of a call.
pub const CALL: usize = 1_000;

/// What running through a log costs, in ns per event.
pub struct Costs {
    /// As JSON.
    pub json: f64,
    /// As MessagePack.
    pub msgpack: f64,
    /// The same batches again: every one is a duplicate.
    pub duplicates: f64,
    /// Every event again, under new batch ids: nothing grows.
    pub said_again: f64,
}

/// Runs three events for each job through Hubs with one generator.
pub fn run(texts: &[String]) -> Costs {
    let bodies: Vec<Vec<u8>> = texts.chunks(CALL).enumerate().map(|(i, c)| workload::body(i, c)).collect();
    let packed: Vec<Vec<u8>> = bodies.iter().map(|body| workload::packed(body)).collect();
    let registrations = [workload::NAMESPACE, &workload::generator()];
    let mut desk = Desk::with(&registrations);
    let json = through(&mut desk, &bodies, texts.len());
    let head = desk.0.last_seq();
    let duplicates = through(&mut desk, &bodies, texts.len());
    assert_eq!(desk.0.last_seq(), head, "nothing was recorded again");
    let again: Vec<Vec<u8>> = texts.chunks(CALL).enumerate().map(|(i, c)| workload::body(i + bodies.len(), c)).collect();
    let said_again = through(&mut desk, &again, texts.len());
    let pull = desk.ask("pull", &format!("gid=work&cursor={head}"), b"");
    assert!(String::from_utf8_lossy(&pull).contains(r#""facts":{}"#), "nothing grew");
    let mut desk = Desk::with(&registrations);
    let msgpack = through(&mut desk, &packed, texts.len());
    assert_eq!(desk.0.last_seq(), head);
    Costs { json, msgpack, duplicates, said_again }
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn through(desk: &mut Desk, bodies: &[Vec<u8>], events: usize) -> f64 {
    let ((), took) = timed(|| {
        for body in bodies {
            desk.ask("ingest", "", body);
        }
    });
    took as f64 / events as f64
}

/// Times, in ms, of the log of jobs that are over: replaying it, writing a snapshot, reading it back;
/// and the snapshot's size.
pub fn start(jobs: usize) -> (f64, f64, f64, usize) {
    let batch = r#"{"type":"RegisterNamespace","ns_id":"batch","spec":{"schema":{"SubmitJob":[{"key":"command","expected_type":"String"}]}}}"#;
    let config = Config { hub_id: "hub".to_owned(), lease_ms: 30_000, reclaim_ms: 300_000 };
    let mut hub = Hub::new(config.clone());
    hub.start(NOW);
    let mut rows = Vec::new();
    let mut ask = |verb: &str, body: &[u8]| {
        let input = hpc_core::logic::hub::Input { token: 1, verb, query: "", body, who: "" };
        let mut turn = hub.step(&[input], NOW, &[]).expect("no fault");
        assert_eq!(turn.replies.pop().expect("an answer").status, 200);
        rows.append(&mut turn.rows);
    };
    ask("control", batch.as_bytes());
    let submits: Vec<String> = (0..jobs)
        .map(|job| format!(r#"{{"kind":"SubmitJob","payload":{{"ctx":{{"ns_id":"batch","job_id":"job-{job:013}"}},"spec":{{"command":"true"}}}}}}"#))
        .collect();
    let cancels: Vec<String> = (0..jobs)
        .map(|job| format!(r#"{{"kind":"CancelJob","payload":{{"ctx":{{"job_id":"job-{job:013}"}},"spec":{{}}}}}}"#))
        .collect();
    for (i, events) in submits.chunks(CALL).chain(cancels.chunks(CALL)).enumerate() {
        ask("ingest", &workload::body(i, events));
    }
    let mut replayed = Hub::new(config.clone());
    let began = cpu_ns();
    replayed.replay(&rows).expect("the log is whole");
    let replay = cpu_ns() - began;
    let (state, write) = timed(|| replayed.snapshot());
    let mut restored = Hub::new(config);
    let began = cpu_ns();
    restored.restore(&state).expect("it is whole");
    let restore = cpu_ns() - began;
    assert_eq!(restored.snapshot(), state);
    (ms(replay), ms(write), ms(restore), state.len())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn ms(ns: u64) -> f64 {
    ns as f64 / 1e6
}
