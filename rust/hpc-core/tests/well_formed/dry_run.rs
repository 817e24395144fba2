//! Dry runs: what a batch would say and change, and that nothing of it stays.

use serde_json::{Value, json};

use crate::desk::{Desk, generator};

fn desk() -> Desk {
    let schema = json!({
        "SubmitJob": [{"key": "i", "expected_type": "Int"}],
        "Said": [{"key": "i", "expected_type": "Int"}],
    });
    let mut desk = Desk::with_schema(schema);
    let rule = json!({"on": "Said", "table": "t", "key": "$ctx.node_id", "join":
        {"most": {"max": "$spec.i"}, "n": {"count": 1}, "ever": {"or": true}}});
    let spec = json!({"namespaces": ["ns"], "rules": [rule]});
    assert_eq!(desk.control(&generator("g", spec)).status, 200);
    desk
}

fn said(i: i64) -> Value {
    let ctx = json!({"ns_id": "ns", "node_id": "n"});
    json!({"kind": "Said", "payload": {"ctx": ctx, "spec": {"i": i}}})
}

fn submit(job_id: Option<&str>) -> Value {
    let mut ctx = json!({"ns_id": "ns", "tasks": "0-3"});
    if let Some(job_id) = job_id {
        ctx["job_id"] = json!(job_id);
    }
    json!({"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": {"i": 1}}})
}

/// Asks what a batch would do; nothing may stay of it.
fn tried(desk: &mut Desk, events: &[Value]) -> Value {
    let reads = ["gid=g&cursor=0", "gid=kernel&cursor=0"];
    let read = |desk: &mut Desk| reads.map(|query| desk.send("pull", query, b"").body);
    let (seq, rows, before) = (desk.hub.last_seq(), desk.log.len(), read(desk));
    let body = json!({"id": "o/1", "events": events}).to_string();
    let answer = desk.send("ingest", "dry_run=true", body.as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert_eq!((desk.hub.last_seq(), desk.log.len()), (seq, rows));
    assert_eq!(read(desk), before);
    answer.body
}

/// The receipt is that of the batch, and each delta what its events say.
#[test]
fn a_dry_run_answers_what_the_batch_would() {
    let mut desk = desk();
    let trial = tried(&mut desk, &[said(5), said(7), submit(None)]);
    assert_eq!(
        trial["deltas"]["g"],
        json!({"t": {"n": {"ever": true, "most": 7, "n": 2}}})
    );
    assert_eq!(trial["deltas"]["kernel"]["jobs"]["1"]["submitted"], "0-3");
    let mut receipt = trial;
    receipt.as_object_mut().unwrap().remove("deltas");
    let body = json!({"id": "o/1", "events": [said(5), said(7), submit(None)]}).to_string();
    let recorded = desk.send("ingest", "", body.as_bytes());
    assert_eq!(
        recorded.body, receipt,
        "the id and the number are free still"
    );
}

/// Poked is what would grow, not what is spoken of; a verdict is the kernel's delta.
#[test]
fn a_dry_run_pokes_what_would_grow() {
    let mut desk = desk();
    let max_only =
        json!({"on": "Said", "table": "t", "key": "$kind", "join": {"m": {"max": "$spec.i"}}});
    let spec = json!({"namespaces": ["ns"], "rules": [max_only]});
    assert_eq!(desk.control(&generator("h", spec)).status, 200);
    assert_eq!(desk.ingest(&[said(5), submit(Some("j"))]).status, 200);
    let trial = tried(&mut desk, &[said(3)]);
    assert_eq!(
        trial["pokes"],
        json!(["g"]),
        "the count grows, the greatest does not"
    );
    assert_eq!(
        trial["deltas"]["h"],
        json!({"t": {"Said": {"m": 3}}}),
        "what is said"
    );
    let cancel = json!({"kind": "CancelJob", "payload": {"ctx": {"job_id": "j", "tasks": "1-9"}}});
    let trial = tried(&mut desk, &[cancel, submit(Some("j"))]);
    assert_eq!(trial["deltas"]["kernel"]["jobs"]["j"]["cancelled"], "1-3");
    assert_eq!(trial["jobs"], json!(["j"]));
}

/// What would be refused is refused.
#[test]
fn a_dry_run_refuses_as_the_batch_would_be() {
    let mut desk = desk();
    let bad = json!({"events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": {"i": "x"}}}]});
    let answer = desk.send("ingest", "dry_run=true", bad.to_string().as_bytes());
    assert_eq!((answer.status, answer.error()[0]), (422, "spec.i"));
}

/// A job is forgotten in no trial, and one that was forgotten is not made anew.
#[test]
fn a_dry_run_knows_what_is_forgotten() {
    let mut desk = desk();
    let about = |kind: &str| json!({"kind": kind, "payload": {"ctx": {"job_id": "j"}, "spec": {}}});
    desk.ingest(&[submit(Some("j"))]);
    desk.ingest(&[about("CancelJob")]);
    let trial = tried(&mut desk, &[about("ForgetJob")]);
    assert_eq!(trial["pokes"], json!(["kernel"]));
    let delta = json!({"forgotten": {"j": {"outcome": ["cancelled"]}}});
    assert_eq!(trial["deltas"], json!({"kernel": delta}));
    assert_eq!(desk.ingest(&[about("ForgetJob")]).status, 200);
    for again in [submit(Some("j")), about("CancelJob"), about("ForgetJob")] {
        let trial = tried(&mut desk, &[again]);
        assert_eq!(
            (&trial["pokes"], &trial["deltas"]),
            (&json!([]), &json!({}))
        );
    }
}
