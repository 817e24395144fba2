//! Replacing a registration: compare and set, and what a newer version may change.

use serde_json::{Value, json};

use crate::desk::{Desk, generator, namespace};

fn replacing(mut request: Value, version: u64) -> Value {
    request["replace"] = json!(version);
    request
}

/// The same spec again is a no-op; another one needs the version that it replaces.
#[test]
fn a_taken_id_is_replaced_by_compare_and_set() {
    let mut desk = Desk::new();
    let first = namespace("ns", json!({"schema": {"Said": []}}));
    let second = namespace("ns", json!({"schema": {"Said": [], "Heard": []}}));
    let taken = desk.control(&first);
    assert_eq!(
        taken.body,
        json!({"ns_id": "ns", "version": 1, "seq": 1, "duplicate": false, "building": false})
    );
    let again = desk.control(&first);
    assert_eq!(
        again.body,
        json!({"ns_id": "ns", "version": 1, "seq": 1, "duplicate": true, "building": false})
    );
    let other = desk.control(&second);
    assert_eq!(
        (other.code(), &other.body["version"]),
        ((409, "version"), &json!(1))
    );
    let stale = desk.control(&replacing(second.clone(), 2));
    assert_eq!(
        (stale.code(), &stale.body["version"]),
        ((409, "version"), &json!(1))
    );
    let replaced = desk.control(&replacing(second.clone(), 1));
    assert_eq!(
        (&replaced.body["version"], &replaced.body["seq"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(desk.control(&second).body["duplicate"], true);
    let new = desk.control(&replacing(namespace("new", json!({"schema": {}})), 1));
    assert_eq!(new.code(), (409, "version"), "there is nothing to replace");
    desk.restart();
    assert_eq!(
        desk.control(&second).body["version"],
        2,
        "versions outlive a restart"
    );
}

#[test]
fn a_replacement_may_add_and_loosen_and_nothing_else() {
    let old = json!({"schema": {"Said": [
        {"key": "n", "expected_type": "Int", "min": 1, "max": 8},
        {"key": "s", "expected_type": "String", "one_of": ["a", "b"]},
        {"key": "must", "expected_type": "Int", "required": true},
        {"key": "env", "expected_type": "Map"},
    ]}});
    let with = |index: usize, field: Value| {
        let mut spec = old.clone();
        let fields = spec["schema"]["Said"].as_array_mut().unwrap();
        fields.truncate(index.max(4));
        match fields.get_mut(index) {
            Some(known) => *known = field,
            None => fields.push(field),
        }
        spec
    };
    let mut desk = Desk::new();
    desk.register("ns", old.clone());
    let bad = [
        (json!({"schema": {}}), "spec.schema.Said"),
        (json!({"schema": {"Said": []}}), "spec.schema.Said.n"),
        (
            with(0, json!({"key": "n", "expected_type": "Float"})),
            "spec.schema.Said.n",
        ),
        (
            with(
                0,
                json!({"key": "n", "expected_type": "Int", "min": 2, "max": 8}),
            ),
            "spec.schema.Said.n",
        ),
        (
            with(
                0,
                json!({"key": "n", "expected_type": "Int", "min": 1, "max": 7}),
            ),
            "spec.schema.Said.n",
        ),
        (
            with(
                0,
                json!({"key": "n", "expected_type": "Int", "one_of": [1]}),
            ),
            "spec.schema.Said.n",
        ),
        (
            with(
                0,
                json!({"key": "n", "expected_type": "Int", "min": 1, "max": 8, "required": true}),
            ),
            "spec.schema.Said.n",
        ),
        (
            with(
                1,
                json!({"key": "s", "expected_type": "String", "one_of": ["a"]}),
            ),
            "spec.schema.Said.s",
        ),
        (
            with(
                1,
                json!({"key": "s", "expected_type": "String", "one_of": ["a", "b"], "max": 1}),
            ),
            "spec.schema.Said.s",
        ),
        (
            with(
                3,
                json!({"key": "env", "expected_type": "Map", "format": "env"}),
            ),
            "spec.schema.Said.env",
        ),
        (
            with(
                4,
                json!({"key": "new", "expected_type": "Int", "required": true}),
            ),
            "spec.schema.Said.new",
        ),
    ];
    for (spec, field) in bad {
        let answer = desk.control(&replacing(namespace("ns", spec.clone()), 1));
        assert_eq!((answer.status, answer.error()[0]), (422, field), "{spec}");
    }
    let good = json!({"revision": 2, "schema": {"Heard": [], "Said": [
        {"key": "n", "expected_type": "Int", "max": 9},
        {"key": "s", "expected_type": "String", "one_of": ["a", "b", "c"]},
        {"key": "must", "expected_type": "Int"},
        {"key": "env", "expected_type": "Map"},
        {"key": "new", "expected_type": "Int", "default": 4},
    ]}});
    assert_eq!(
        desk.control(&replacing(namespace("ns", good), 1)).body["version"],
        2
    );
}

#[test]
fn an_open_kind_stays_open() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Said": {"fields": [], "open": true}}}),
    );
    let closed = replacing(namespace("ns", json!({"schema": {"Said": []}})), 1);
    assert_eq!(
        desk.control(&closed).error()[..3],
        [
            "spec.schema.Said",
            "open, as in the version before",
            "closed"
        ]
    );
}

#[test]
fn what_a_kind_acts_as_stays() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Run": []}, "acts_as": {"Run": "SubmitJob"}}),
    );
    let changed = replacing(namespace("ns", json!({"schema": {"Run": []}})), 1);
    assert_eq!(desk.control(&changed).error()[0], "spec.acts_as.Run");
}

/// A replacement applies to later events; what is recorded stays as it was.
#[test]
fn a_replacement_applies_to_later_events() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Said": [{"key": "x", "expected_type": "Int", "max": 1}]}}),
    );
    assert_eq!(desk.offer("Said", json!({}), json!({"x": 2})).status, 422);
    let wider =
        json!({"schema": {"Said": [{"key": "x", "expected_type": "Int", "max": 2, "default": 2}]}});
    assert_eq!(
        desk.control(&replacing(namespace("ns", wider), 1)).status,
        200
    );
    assert_eq!(desk.offer("Said", json!({}), json!({})).status, 200);
    assert_eq!(desk.stored(), json!({"x": 2}));
}

/// A retry gets its first receipt, also where the schema would refuse it by now, or fill it
/// otherwise: content is compared as it was sent.
#[test]
fn a_retry_gets_its_receipt_whatever_the_schema_says_now() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Said": [{"key": "x", "expected_type": "Int"}]}}),
    );
    let body = json!({"id": "b1", "events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": {}}}]});
    let first = desk.send("ingest", "", body.to_string().as_bytes());
    let filled = json!({"schema": {"Said": [{"key": "x", "expected_type": "Int", "default": 2}]}});
    assert_eq!(
        desk.control(&replacing(namespace("ns", filled), 1)).status,
        200
    );
    let again = desk.send("ingest", "", body.to_string().as_bytes());
    assert_eq!(again.body["first_seq"], first.body["first_seq"]);
    assert_eq!(again.body["duplicate"], true);
}

/// A lifecycle event is checked by the kernel alone, so no replacement can refuse a result.
#[test]
fn no_replacement_refuses_a_result() {
    let mut desk = Desk::new();
    desk.register("ns", json!({"schema": {"SubmitJob": []}}));
    assert_eq!(
        desk.offer("SubmitJob", json!({"job_id": "j"}), json!({}))
            .status,
        200
    );
    let more = json!({"schema": {"SubmitJob": [{"key": "x", "expected_type": "Int"}], "Said": []}});
    assert_eq!(
        desk.control(&replacing(namespace("ns", more), 1)).status,
        200
    );
    let ctx = json!({"job_id": "j", "tasks": "0", "attempt": 1, "node_id": "n", "epoch": 1});
    assert_eq!(
        desk.offer("JobFinished", ctx, json!({"exit_code": 0}))
            .status,
        200
    );
}

/// What would make a registered generator ill-typed is refused with the generator's name.
#[test]
fn a_replacement_does_not_break_a_generator() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Said": {"fields": [], "open": true}}}),
    );
    let rules = json!([{"on": "Said", "table": "t", "key": "$ctx.node_id", "join": {"x": {"sum": "$spec.x"}}}]);
    assert_eq!(
        desk.control(&generator(
            "g",
            json!({"namespaces": ["ns"], "rules": rules})
        ))
        .status,
        200
    );
    let named = json!({"schema": {"Said": {"fields": [{"key": "x", "expected_type": "String"}], "open": true}}});
    let answer = desk.control(&replacing(namespace("ns", named), 1));
    assert_eq!(answer.status, 422);
    assert!(
        answer.error()[3].contains("generator `g`"),
        "{:?}",
        answer.error()
    );
}

/// Lists of values of an open kind's field narrow it as well.
#[test]
fn naming_a_field_of_an_open_kind_narrows_it() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"schema": {"Said": {"fields": [], "open": true}}}),
    );
    let named = json!({"schema": {"Said": {"fields": [{"key": "x", "expected_type": "Int"}], "open": true}}});
    let answer = desk.control(&replacing(namespace("ns", named), 1));
    assert_eq!(
        answer.status, 200,
        "an optional field may be added: {}",
        answer.body
    );
}
