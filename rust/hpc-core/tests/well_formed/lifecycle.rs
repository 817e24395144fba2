//! The lifecycle kinds: who may send them, and what the kernel asks of each.

use serde_json::{Value, json};

use crate::desk::Desk;

/// A namespace with jobs, a job `j` of three tasks, and a node `n1` that has joined.
fn desk() -> Desk {
    let mut desk = Desk::with_schema(
        json!({"SubmitJob": [{"key": "cpu", "expected_type": "Int"}], "Said": []}),
    );
    assert_eq!(
        desk.offer(
            "SubmitJob",
            json!({"job_id": "j", "tasks": "0-2"}),
            json!({})
        )
        .status,
        200
    );
    let claim = json!({
        "node_id": "n1", "host": "h", "place": "p", "session": "s", "epoch": 1, "n": 1, "ns": ["ns"],
        "resources": {"cpus": 1}, "max": 0,
    });
    assert_eq!(
        desk.send("claim", "", claim.to_string().as_bytes()).status,
        200
    );
    desk
}

fn report(more: Value) -> Value {
    let mut ctx = json!({"job_id": "j", "tasks": "0-2", "attempt": 1, "node_id": "n1", "epoch": 1});
    for (key, value) in more.as_object().unwrap() {
        match value {
            Value::Null => ctx.as_object_mut().unwrap().remove(key),
            value => ctx
                .as_object_mut()
                .unwrap()
                .insert(key.clone(), value.clone()),
        };
    }
    ctx
}

#[test]
fn what_only_the_hub_writes_is_403() {
    let mut desk = desk();
    for kind in ["JobClaimed", "AttemptLost", "NodeJoined"] {
        let answer = desk.offer(kind, report(json!({})), json!({}));
        assert_eq!(answer.code(), (403, "not_allowed"), "{kind}");
    }
}

#[test]
fn only_a_whole_job_that_is_over_is_forgotten() {
    let mut desk = desk();
    let said = |answer: &crate::desk::Answer| (answer.status, answer.error().map(str::to_owned));
    let answer = desk.offer("ForgetJob", json!({"job_id": "j"}), json!({}));
    let expected = [
        "ctx.job_id",
        "the id of a job whose tasks have all ended",
        "\"j\", queued",
        "cancel it first: hpc job cancel j",
    ];
    assert_eq!(said(&answer), (422, expected.map(str::to_owned)));
    desk.offer("CancelJob", json!({"job_id": "j"}), json!({}));
    let answer = desk.offer("ForgetJob", json!({"job_id": "j", "tasks": "0"}), json!({}));
    let [field, expected, ..] = answer.error();
    assert_eq!((answer.status, field), (422, "ctx.tasks"));
    assert!(expected.contains("as a whole"), "{expected}");
    let outcome = json!({"outcome": "succeeded"});
    let answer = desk.offer("ForgetJob", json!({"job_id": "j"}), outcome);
    assert_eq!((answer.status, answer.error()[0]), (422, "spec.outcome"));
    let answer = desk.offer("ForgetJob", json!({"job_id": "never"}), json!({}));
    assert_eq!((answer.status, answer.error()[0]), (422, "ctx.job_id"));
    let reason = json!({"reason": "tidy"});
    assert_eq!(
        desk.offer("ForgetJob", json!({"job_id": "j"}), reason)
            .status,
        200
    );
    assert_eq!(
        desk.stored(),
        json!({"outcome": "cancelled", "reason": "tidy"})
    );
    assert_eq!(
        desk.offer("ForgetJob", json!({"job_id": "j"}), json!({}))
            .status,
        200
    );
    assert_eq!(desk.stored(), json!({}), "it was forgotten already");
}

/// What stands beside it in its batch can have opened the job again: then it has no effect.
#[test]
fn a_job_that_its_own_batch_opens_again_is_not_forgotten() {
    let mut desk = desk();
    desk.offer("CancelJob", json!({"job_id": "j"}), json!({}));
    let event = |kind: &str| json!({"kind": kind, "payload": {"ctx": {"job_id": "j"}, "spec": {}}});
    let answer = desk.ingest(&[event("RetryJob"), event("ForgetJob")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let job = desk.send("job", "job_id=j", b"");
    assert_eq!(job.body["data"]["state"], "queued", "{}", job.body);
}

#[test]
fn a_submit_says_nothing_that_the_hub_decides() {
    let mut desk = desk();
    for field in ["attempt", "epoch"] {
        let answer = desk.offer("SubmitJob", json!({field: 1}), json!({}));
        assert_eq!(answer.error()[0], format!("ctx.{field}"));
    }
    assert_eq!(
        desk.offer("SubmitJob", json!({"node_id": "n1"}), json!({}))
            .error()[0],
        "ctx.node_id"
    );
    let digits = desk.offer("SubmitJob", json!({"job_id": "17"}), json!({}));
    assert_eq!(digits.error()[0], "ctx.job_id");
    assert!(!digits.error()[3].is_empty(), "a hint says what to do");
}

#[test]
fn a_request_about_an_unknown_job_is_422() {
    let mut desk = desk();
    for (kind, ctx) in [
        ("CancelJob", json!({"job_id": "k"})),
        ("JobStarted", report(json!({"job_id": "k"}))),
    ] {
        let answer = desk.offer(kind, ctx, json!({}));
        assert_eq!(
            answer.error()[..3],
            ["ctx.job_id", "the id of a job", "\"k\""],
            "{kind}"
        );
    }
    let both = [
        json!({"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "ns", "job_id": "k"}, "spec": {}}}),
        json!({"kind": "CancelJob", "payload": {"ctx": {"job_id": "k"}, "spec": {}}}),
    ];
    assert_eq!(
        desk.ingest(&both).status,
        200,
        "submitted earlier in the same batch"
    );
    assert_eq!(
        desk.newest()["payload"]["ctx"]["ns_id"],
        "ns",
        "filled in from the job"
    );
}

#[test]
fn a_report_names_its_execution() {
    let mut desk = desk();
    let done = json!({"exit_code": 0});
    for field in ["job_id", "tasks", "attempt", "node_id", "epoch"] {
        let answer = desk.offer("JobFinished", report(json!({field: null})), done.clone());
        assert_eq!(
            answer.error()[..2],
            [&format!("ctx.{field}"), "required in JobFinished"],
            "{field}"
        );
    }
    desk.register("other", json!({"schema": {}}));
    let elsewhere = desk.offer("JobFinished", report(json!({"ns_id": "other"})), done);
    assert_eq!(elsewhere.error()[0], "ctx.ns_id");
}

#[test]
fn the_columns_of_job_finished_fit_its_tasks() {
    let mut desk = desk();
    let good = [
        json!({"exit_code": 0}),
        json!({"exit_code": [0, 1, null], "signal": [null, null, 9]}),
        json!({"cause": "oom", "detail": "why", "peak_memory_bytes": 7, "cpu_seconds": 1}),
        json!({"exit_code": 1, "cpu_seconds": [0.5, 1, null], "started_at": 1, "finished_at": [1, 2, 3]}),
    ];
    for spec in good {
        let answer = desk.offer("JobFinished", report(json!({})), spec);
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let bad = [
        (json!({}), "spec.exit_code"),
        (json!({"exit_code": null}), "spec.exit_code"),
        (json!({"exit_code": "0"}), "spec.exit_code"),
        (json!({"exit_code": [0, 0]}), "spec.exit_code"),
        (json!({"exit_code": [0, 0, "x"]}), "spec.exit_code"),
        (json!({"exit_code": 0, "cause": "boredom"}), "spec.cause"),
        (
            json!({"exit_code": 0, "cpu_seconds": "1"}),
            "spec.cpu_seconds",
        ),
        (json!({"exit_code": 0, "detail": 7}), "spec.detail"),
        (json!({"exit_code": 0, "exitcode": 0}), "spec.exitcode"),
    ];
    for (spec, field) in bad {
        let answer = desk.offer("JobFinished", report(json!({})), spec.clone());
        assert_eq!((answer.status, answer.error()[0]), (422, field), "{spec}");
    }
}

#[test]
fn the_other_reports_have_their_fields() {
    let mut desk = desk();
    let table = [
        ("JobStarted", json!({"started_at": 5}), true),
        ("JobStarted", json!({"started_at": [1, null, 3]}), true),
        ("JobStarted", json!({"started_at": "now"}), false),
        ("JobStarted", json!({"when": 1}), false),
        ("TasksReturned", json!({"reason": "drain"}), true),
        ("TasksReturned", json!({"reason": "fence"}), true),
        ("TasksReturned", json!({"reason": "given_back"}), true),
        ("TasksReturned", json!({"reason": "boredom"}), false),
        ("TasksReturned", json!({}), false),
        ("CancelJob", json!({"reason": "enough"}), true),
        ("CancelJob", json!({"reason": 7}), false),
        ("CancelJob", json!({"why": "enough"}), false),
    ];
    for (kind, spec, is_taken) in table {
        let ctx = if kind == "CancelJob" {
            json!({"job_id": "j"})
        } else {
            report(json!({}))
        };
        let status = desk.offer(kind, ctx, spec.clone()).status;
        assert_eq!(status, if is_taken { 200 } else { 422 }, "{kind} {spec}");
    }
}

#[test]
fn requests_about_nodes_name_a_node_that_was_there() {
    let mut desk = desk();
    for kind in ["NodeDrained", "NodeUndrained", "NodeLost"] {
        let event = |ctx: Value| json!({"kind": kind, "payload": {"ctx": ctx, "spec": {}}});
        assert_eq!(
            desk.ingest(&[event(json!({}))]).error()[0],
            "ctx.node_id",
            "{kind}"
        );
        let unknown = desk.ingest(&[event(json!({"node_id": "n9"}))]);
        assert_eq!(
            unknown.error()[..2],
            ["ctx.node_id", "the id of a node"],
            "{kind}"
        );
        assert_eq!(
            desk.ingest(&[event(json!({"node_id": "n1"}))]).status,
            200,
            "{kind}"
        );
    }
}

/// A kind of the namespace's own that acts as a submit is one: it makes jobs, under its own name.
#[test]
fn a_kind_may_act_as_a_lifecycle_kind() {
    let mut desk = Desk::new();
    let fields = json!([{"key": "grid", "expected_type": "Int", "required": true}]);
    let spec = json!({
        "schema": {"SubmitSimulation": fields}, "acts_as": {"SubmitSimulation": "SubmitJob"},
        "resources": {"cpus": "$spec.grid"},
    });
    desk.register("ns", spec);
    let bad = desk.offer("SubmitSimulation", json!({}), json!({"grid": "big"}));
    assert_eq!(bad.error()[0], "spec.grid");
    let answer = desk.offer("SubmitSimulation", json!({}), json!({"grid": 4}));
    assert_eq!(answer.body["jobs"], json!(["1"]));
    assert_eq!(desk.newest()["kind"], "SubmitSimulation");
    let job = desk.send("job", "job_id=1", b"");
    assert_eq!(job.body["data"]["state"], "queued");
    assert_eq!(
        desk.offer("SubmitJob", json!({}), json!({})).error()[0],
        "kind",
        "that one is not listed"
    );
}

#[test]
fn claims_are_checked_field_by_field() {
    let mut desk = desk();
    let claim = json!({
        "node_id": "n2", "host": "h", "place": "p", "session": "s", "epoch": 1, "n": 1, "ns": ["ns"],
        "resources": {"cpus": 1},
    });
    let table = [
        ("node_id", json!([null, "", "a b", 1])),
        ("host", json!([null, 1])),
        ("place", json!([null, 1])),
        ("session", json!([null, "a b"])),
        ("epoch", json!([null, 0, "1", 1.0])),
        ("n", json!([null, -1])),
        ("ns", json!([null, "ns", [1]])),
        ("resources", json!([null, [], {"cpus": -1}, {"cpus": 1.5}])),
        ("max", json!([-1, 100_001, "x"])),
        ("wait", json!([-1, 61, "x"])),
        ("takeover", json!(["yes"])),
        (
            "holds",
            json!([
                {}, [1], [{"job_id": "j"}], [{"job_id": "j", "attempt": 0, "tasks": "0"}],
                [{"job_id": "j", "attempt": 1, "tasks": ""}],
                [{"job_id": "j", "attempt": 1, "tasks": "0", "color": "red"}],
            ]),
        ),
        ("color", json!(["red"])),
    ];
    for (field, bad) in table {
        for value in bad.as_array().unwrap() {
            let mut body = claim.clone();
            match value {
                Value::Null => body.as_object_mut().unwrap().remove(field),
                value => body
                    .as_object_mut()
                    .unwrap()
                    .insert(field.to_owned(), value.clone()),
            };
            let answer = desk.send("claim", "", body.to_string().as_bytes());
            assert_eq!(
                (answer.status, answer.error()[0]),
                (422, field),
                "{value}: {}",
                answer.body
            );
        }
    }
    let mut elsewhere = claim;
    elsewhere["ns"] = json!(["ns", "nowhere"]);
    let answer = desk.send("claim", "", elsewhere.to_string().as_bytes());
    assert_eq!(answer.code(), (404, "unknown_namespace"));
}
