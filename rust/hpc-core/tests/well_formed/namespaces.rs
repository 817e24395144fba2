//! Registrations of namespaces: what a spec may say.

use serde_json::{Value, json};

use crate::desk::{Desk, namespace};

fn refused(spec: Value) -> (String, String) {
    let mut desk = Desk::new();
    let answer = desk.control(&namespace("ns", spec.clone()));
    assert_eq!(answer.code(), (422, "not_well_formed"), "{spec} is taken");
    let [field, _, _, hint] = answer.error();
    (field.to_owned(), hint.to_owned())
}

#[test]
fn a_request_says_what_it_registers() {
    let mut desk = Desk::new();
    let spec = json!({"schema": {}});
    let table = [
        (json!({}), "type"),
        (
            json!({"type": "RegisterNamspace", "ns_id": "x", "spec": spec}),
            "type",
        ),
        (json!({"type": "RegisterNamespace", "spec": spec}), "ns_id"),
        (
            json!({"type": "RegisterNamespace", "ns_id": "a b", "spec": spec}),
            "ns_id",
        ),
        (
            json!({"type": "RegisterNamespace", "gid": "x", "ns_id": "x", "spec": spec}),
            "gid",
        ),
        (json!({"type": "RegisterNamespace", "ns_id": "x"}), "spec"),
        (
            json!({"type": "RegisterNamespace", "ns_id": "x", "spec": []}),
            "spec",
        ),
        (
            json!({"type": "RegisterNamespace", "ns_id": "x", "spec": {}}),
            "spec.schema",
        ),
        (
            json!({"type": "RegisterNamespace", "ns_id": "x", "spec": spec, "replace": 0}),
            "replace",
        ),
        (
            json!({"type": "RegisterGenerator", "gid": "x", "spec": {}}),
            "spec.namespaces",
        ),
    ];
    for (body, field) in table {
        let answer = desk.control(&body);
        assert_eq!((answer.status, answer.error()[0]), (422, field), "{body}");
    }
    assert_eq!(desk.send("control", "", b"{").code(), (400, "bad_request"));
    assert_eq!(desk.send("control", "", b"[]").status, 422);
}

#[test]
fn a_spec_is_refused_by_the_name_of_its_field() {
    let said = |fields: Value| json!({"schema": {"Said": fields}});
    let x = |more: Value| {
        let mut field = json!({"key": "x", "expected_type": "Int"});
        field
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        said(json!([field]))
    };
    let table = [
        (json!({"schema": {}, "shcema": {}}), "spec.shcema"),
        (json!({"schema": {}, "revision": 0}), "spec.revision"),
        (
            json!({"schema": {}, "preemptible": "yes"}),
            "spec.preemptible",
        ),
        (
            json!({"schema": {}, "handler_type": 7}),
            "spec.handler_type",
        ),
        (json!({"schema": {}, "retention": -1}), "spec.retention"),
        (json!({"schema": {}, "retention": 1.5}), "spec.retention"),
        (
            json!({"schema": {}, "retention": 9_000_000_000_000_000_i64}),
            "spec.retention",
        ),
        (json!({"schema": []}), "spec.schema"),
        (json!({"schema": {"a b": []}}), "spec.schema.a b"),
        (
            json!({"schema": {"JobStarted": []}}),
            "spec.schema.JobStarted",
        ),
        (json!({"schema": {"HoldJob": []}}), "spec.schema.HoldJob"),
        (
            json!({"schema": {"RegisterNamespace": []}}),
            "spec.schema.RegisterNamespace",
        ),
        (
            json!({"schema": {"RegisterGenerator": []}}),
            "spec.schema.RegisterGenerator",
        ),
        (said(json!(7)), "spec.schema.Said"),
        (said(json!({"open": true})), "spec.schema.Said.fields"),
        (said(json!([7])), "spec.schema.Said[0]"),
        (
            said(json!([{"expected_type": "Int"}])),
            "spec.schema.Said[0].key",
        ),
        (
            said(json!([{"key": "x"}])),
            "spec.schema.Said[0].expected_type",
        ),
        (
            said(json!([{"key": "x", "expected_type": "int"}])),
            "spec.schema.Said[0].expected_type",
        ),
        (
            said(
                json!([{"key": "x", "expected_type": "Int"}, {"key": "x", "expected_type": "Int"}]),
            ),
            "spec.schema.Said[1]",
        ),
        (x(json!({"requird": true})), "spec.schema.Said[0].requird"),
        (x(json!({"required": 1})), "spec.schema.Said[0].required"),
        (x(json!({"min": "1"})), "spec.schema.Said[0].min"),
        (x(json!({"one_of": []})), "spec.schema.Said[0].one_of"),
        (x(json!({"one_of": ["a"]})), "spec.schema.Said[0].one_of"),
        (x(json!({"format": "text"})), "spec.schema.Said[0].format"),
        (x(json!({"default": "x"})), "spec.schema.Said[0].default"),
        (
            x(json!({"default": 3, "max": 2})),
            "spec.schema.Said[0].default",
        ),
        (
            x(json!({"default": 3, "required": true})),
            "spec.schema.Said[0].default",
        ),
        (
            json!({"schema": {"Said": []}, "acts_as": {"Said": "Dance"}}),
            "spec.acts_as.Said",
        ),
        (
            json!({"schema": {}, "acts_as": {"Said": "SubmitJob"}}),
            "spec.acts_as.Said",
        ),
        (
            json!({"schema": {"Said": []}, "by": {"Said": "anyone"}}),
            "spec.by.Said",
        ),
        (
            json!({"schema": {}, "by": {"Said": "relay"}}),
            "spec.by.Said",
        ),
        (json!({"schema": {}, "open": ["Said"]}), "spec.open"),
    ];
    for (spec, field) in table {
        assert_eq!(refused(spec.clone()).0, field, "{spec}");
    }
    let (_, hint) = refused(json!({"schema": {}, "shcema": {}}));
    assert_eq!(hint, "did you mean `schema`?");
}

/// What a task takes is a number, or an Int field of every kind that submits.
#[test]
fn resources_are_numbers_of_the_submit() {
    let with = |resources: Value| {
        json!({"resources": resources, "schema": {
            "SubmitJob": [{"key": "n", "expected_type": "Int"}, {"key": "s", "expected_type": "String"}],
            "Said": [],
        }})
    };
    for good in [
        json!({"cpus": 1}),
        json!({"cpus": "$spec.n"}),
        json!({"gpus": 0}),
    ] {
        let mut desk = Desk::new();
        assert_eq!(desk.control(&namespace("ns", with(good))).status, 200);
    }
    let bad = ["$spec.s", "$spec.nope", "$ctx.priority", "$kind", "two"];
    for value in bad
        .map(Value::from)
        .into_iter()
        .chain([json!(-1), json!(1.5)])
    {
        assert_eq!(
            refused(with(json!({"cpus": value}))).0,
            "spec.resources.cpus",
            "{value}"
        );
    }
    assert_eq!(refused(with(json!({"a b": 1}))).0, "spec.resources.a b");
}

/// Every mistake of a spec is named at once.
#[test]
fn all_mistakes_are_named() {
    let mut desk = Desk::new();
    let spec = json!({"revision": 0, "schema": {"Said": [{"key": "x"}], "Heard": [{"expected_type": "Int"}]}});
    let answer = desk.control(&namespace("ns", spec));
    let errors = answer.body["errors"].as_array().unwrap();
    let mut fields: Vec<&str> = errors
        .iter()
        .map(|e| e["field"].as_str().unwrap())
        .collect();
    fields.sort_unstable();
    assert_eq!(
        fields,
        [
            "spec.revision",
            "spec.schema.Heard[0].key",
            "spec.schema.Said[0].expected_type"
        ]
    );
}

/// From 0 on; absent and null are for ever; a replacement may change it either way.
#[test]
fn a_retention_is_seconds_or_nothing() {
    let mut desk = Desk::new();
    for (version, retention) in [json!(0), json!(86_400), json!(null), json!(1)]
        .into_iter()
        .enumerate()
    {
        let mut body = namespace("ns", json!({"schema": {}, "retention": retention}));
        if version > 0 {
            body["replace"] = json!(version);
        }
        let answer = desk.control(&body);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(desk.hub.has_retention(), !retention.is_null());
    }
}
