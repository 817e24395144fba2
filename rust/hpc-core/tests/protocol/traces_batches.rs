//! Fixed traces: ids, numbers and receipts of batches.

use serde_json::{Value, json};

use crate::puppet::{Puppet, report};
use crate::world::{Answer, World, entry, holds_through_restarts};

fn submit(job_id: &str) -> Value {
    json!({"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "batch", "job_id": job_id}, "spec": {}}})
}

fn send(world: &mut World, id: &str, events: &[Value]) -> Answer {
    world.ask("ingest", "", &json!({"id": id, "events": events}))
}

fn code(answer: &Answer) -> (u16, &str) {
    (
        answer.status,
        answer.body["code"].as_str().unwrap_or_default(),
    )
}

/// R2: the same id with the same content is one batch, and its first receipt comes again.
#[test]
pub fn fault_33_a_repeat_gets_the_first_receipt() {
    holds_through_restarts(|world| {
        let first = send(world, "b1", &[submit("j")]);
        assert_eq!(first.status, 200);
        send(world, "b2", &[submit("k")]);
        let again = send(world, "b1", &[submit("j")]);
        assert_eq!(again.body["duplicate"], true);
        for field in ["id", "first_seq", "count", "jobs", "pokes"] {
            assert_eq!(again.body[field], first.body[field], "{field}");
        }
        assert_eq!(world.events("SubmitJob").len(), 2);
    });
}

/// Content is compared decoded, and before defaults are filled: the order of keys plays no part.
#[test]
fn a_repeat_may_be_spelt_otherwise() {
    let mut world = World::new();
    let body = r#"{"id":"b1","events":[{"kind":"SubmitJob","payload":{"ctx":{"ns_id":"batch","job_id":"j"},"spec":{}}}]}"#;
    let spelt = r#"{ "events": [ {"payload": {"spec": {}, "ctx": {"job_id": "\u006a", "ns_id": "batch"}}, "kind": "SubmitJob"} ], "id": "b1" }"#;
    for (body, duplicate) in [(body, false), (spelt, true)] {
        let answer = world.ask_raw(body.as_bytes());
        assert_eq!(
            (answer.status, &answer.body["duplicate"]),
            (200, &json!(duplicate))
        );
    }
}

/// The same id with another content is a mistake of the client's, told with the first seq.
#[test]
fn fault_35_an_id_with_another_content_is_refused() {
    holds_through_restarts(|world| {
        send(world, "b1", &[submit("j")]);
        let other = send(world, "b1", &[submit("k")]);
        assert_eq!(code(&other), (409, "id_conflict"));
        assert_eq!(other.body["first_seq"], 4);
        assert_eq!(world.events("SubmitJob").len(), 1);
    });
}

/// R10: numbers of an origin are taken without gaps; a gap says which number is expected.
#[test]
pub fn numbered_batches_come_without_gaps() {
    holds_through_restarts(|world| {
        assert_eq!(send(world, "box/1", &[submit("a")]).status, 200);
        let gap = send(world, "box/3", &[submit("c")]);
        assert_eq!(
            (code(&gap), &gap.body["expected"]),
            ((409, "gap"), &json!(2))
        );
        assert_eq!(send(world, "box/2", &[submit("b")]).status, 200);
        assert_eq!(send(world, "box/3", &[submit("c")]).status, 200);
        let passed = send(world, "box/1", &[submit("a")]);
        assert_eq!(
            (passed.status, &passed.body["duplicate"]),
            (200, &json!(true))
        );
        assert_eq!(
            code(&send(world, "box/2", &[submit("z")])),
            (409, "id_conflict")
        );
        let other = send(world, "bag/2", &[submit("d")]);
        assert_eq!(
            (code(&other), &other.body["expected"]),
            ((409, "gap"), &json!(1))
        );
        assert_eq!(world.events("SubmitJob").len(), 3);
    });
}

/// A refused batch uses no number: what is left of it goes under the same one.
#[test]
fn a_refused_batch_uses_no_number() {
    holds_through_restarts(|world| {
        let mut bad = submit("a");
        bad["payload"]["ctx"]["ns_id"] = json!("nowhere");
        assert_eq!(send(world, "box/1", &[bad]).status, 404);
        assert_eq!(send(world, "box/1", &[submit("a")]).status, 200);
    });
}

/// A report that comes twice is applied once (P8), also where its attempt has a successor.
#[test]
fn a_report_that_comes_twice_counts_once() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        let back = report(
            &a,
            "s/1",
            "TasksReturned",
            ("j", 1, "0"),
            json!({"reason": "drain"}),
        );
        world.ask("ingest", "", &back);
        a.holds.clear();
        assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "0")]);
        assert_eq!(world.ask("ingest", "", &back).body["duplicate"], true);
        assert_eq!(world.state("j"), "leased");
    });
}

/// All events of a batch are recorded, or none is.
#[test]
fn a_batch_with_one_bad_event_leaves_nothing() {
    holds_through_restarts(|world| {
        let mut bad = submit("k");
        bad["payload"]["spec"]["cpu"] = json!("two");
        let answer = send(world, "b1", &[submit("j"), bad]);
        assert_eq!(answer.status, 422);
        assert_eq!(answer.body["errors"][0]["event"], 1);
        assert_eq!(world.events("SubmitJob").len(), 0);
        let unknown = world.ask("job", "job_id=j", &json!({}));
        assert_eq!(unknown.status, 404);
        assert_eq!(
            send(world, "b1", &[submit("j")]).status,
            200,
            "the id is free still"
        );
    });
}

/// The Hub gives numbers to jobs that come without an id, and never one twice.
#[test]
fn jobs_without_an_id_are_numbered() {
    holds_through_restarts(|world| {
        let mut nameless = submit("x");
        nameless["payload"]["ctx"]
            .as_object_mut()
            .unwrap()
            .remove("job_id");
        let two = send(world, "b1", &[nameless.clone(), nameless.clone()]);
        assert_eq!(two.body["jobs"], json!(["1", "2"]));
        assert_eq!(
            send(world, "b2", &[nameless.clone()]).body["jobs"],
            json!(["3"])
        );
        assert_eq!(
            send(world, "b1", &[nameless.clone(), nameless]).body["jobs"],
            json!(["1", "2"])
        );
    });
}

/// The same job may be submitted again, as `--key` does; with another spec it is refused, by the
/// name of the field.
#[test]
fn a_job_submitted_again_is_the_same_job() {
    holds_through_restarts(|world| {
        send(world, "b1", &[submit("j")]);
        let again = send(world, "b2", &[submit("j")]);
        assert_eq!((again.status, &again.body["jobs"]), (200, &json!(["j"])));
        let mut other = submit("j");
        other["payload"]["spec"]["cpu"] = json!(2);
        let refused = send(world, "b3", &[other]);
        assert_eq!(
            (code(&refused), &refused.body["field"]),
            ((409, "job_conflict"), &json!("spec.cpu"))
        );
        let mut elsewhere = submit("j");
        elsewhere["payload"]["ctx"]["ns_id"] = json!("slow");
        let refused = send(world, "b4", &[elsewhere]);
        assert_eq!(
            (code(&refused), &refused.body["field"]),
            ((409, "job_conflict"), &json!("ctx.ns_id"))
        );
        assert_eq!(world.job("j")["counts"]["queued"], 1);
    });
}

/// Ids of the Hub's own batches cannot be taken by a client: the log holds each id once.
#[test]
fn a_client_cannot_take_an_id_of_the_hubs_own() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        for seq in 30..70 {
            let answer = send(world, &format!("hub-{seq}"), &[submit(&format!("j{seq}"))]);
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        world.take(&mut a);
        let nameless = world.ask("ingest", "", &json!({"events": [submit("k")]}));
        assert_eq!(
            (nameless.status, &nameless.body["duplicate"]),
            (200, &json!(false))
        );
    });
}

/// More tasks of a job come with their entries; another entry for a task that is there is a conflict.
#[test]
fn another_entry_for_a_known_task_is_refused() {
    let mut world = World::new();
    let ctx = |tasks: &str, entries: Value| json!({"ns_id": "batch", "job_id": "j", "tasks": tasks, "entries": entries});
    let mut send = |id: &str, ctx: Value| world.ingest(id, "SubmitJob", ctx, json!({})).status;
    assert_eq!(send("b1", ctx("0-1", json!(["a", {"b": 1}]))), 200);
    assert_eq!(send("b2", ctx("1-2", json!([{"b": 1}, "c"]))), 200);
    assert_eq!(send("b3", ctx("2-3", json!(["other", "d"]))), 409);
    assert_eq!(send("b4", ctx("2", json!(["c"]))), 200);
}
