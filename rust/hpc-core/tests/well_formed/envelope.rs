//! Bodies, batches, events and their `ctx`, before any schema is looked at.

use serde_json::{Value, json};

use crate::desk::Desk;

fn desk() -> Desk {
    Desk::with_schema(json!({"Said": [{"open": true}], "SubmitJob": [{"open": true}]}))
}

const EVENT: &str = r#"{"kind":"Said","payload":{"ctx":{"ns_id":"ns"},"spec":{}}}"#;

/// An event with this text as its spec.
fn with_spec(spec: &str) -> Vec<u8> {
    let event = EVENT.replace(r#""spec":{}"#, &format!(r#""spec":{spec}"#));
    format!(r#"{{"events":[{event}]}}"#).into_bytes()
}

#[test]
fn what_is_no_json_is_400() {
    let mut desk = desk();
    let deep = |n: usize| format!(r#"{{"x":{}{}}}"#, "[".repeat(n), "]".repeat(n));
    let specs = [
        r#"{"x":NaN}"#,
        r#"{"x":Infinity}"#,
        r#"{"x":1e400}"#,
        r#"{"x":-1e400}"#,
        r#"{"x":18446744073709551616}"#,
        r#"{"x":-9223372036854775809}"#,
        r#"{"x":"\ud800"}"#,
        r#"{"x":1,"x":1}"#,
        r#"{"x":01}"#,
        r#"{"x":"a}"#,
        r#"{"x":1,}"#,
        r"{'x':1}",
        "{",
        &deep(61),
        &deep(5_000),
    ];
    for spec in specs {
        let answer = desk.send("ingest", "", &with_spec(spec));
        assert_eq!(
            answer.code(),
            (400, "bad_request"),
            "{spec}: {}",
            answer.body
        );
    }
    assert_eq!(
        desk.send("ingest", "", &with_spec(&deep(60))).status,
        400,
        "64 levels with the batch's own"
    );
    assert_eq!(desk.send("ingest", "", &with_spec(&deep(58))).status, 200);
    for body in [&b""[..], b"events", b"{\"events\":[\"\xff\"]}", b"{} {}"] {
        assert_eq!(desk.send("ingest", "", body).code(), (400, "bad_request"));
    }
}

#[test]
fn a_batch_is_a_map_with_events_and_an_id() {
    let mut desk = desk();
    let event: Value = serde_json::from_str(EVENT).unwrap();
    let table = [
        (json!([event]), ""),
        (json!({}), "events"),
        (json!({"events": []}), "events"),
        (json!({"events": {}}), "events"),
        (json!({"events": [event], "evnets": 1}), "evnets"),
        (json!({"events": [event], "id": ""}), "id"),
        (json!({"events": [event], "id": 7}), "id"),
        (json!({"events": [event], "id": "a b"}), "id"),
        (json!({"events": [event], "id": "x".repeat(129)}), "id"),
        (json!({"events": [event], "id": "box/0"}), "id"),
        (json!({"events": [event], "id": "box/01"}), "id"),
        (json!({"events": [event], "id": "/1"}), "id"),
        (json!({"events": [event], "id": "box/1/2"}), "id"),
        (
            json!({"events": [event], "id": "box/99999999999999999999"}),
            "id",
        ),
        (json!({"events": [7]}), ""),
        (
            json!({"events": [{"kind": 7, "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "kind",
        ),
        (
            json!({"events": [{"payload": {"ctx": {"ns_id": "ns"}}}]}),
            "kind",
        ),
        (json!({"events": [{"kind": "Said"}]}), "payload"),
        (json!({"events": [{"kind": "Said", "payload": {}}]}), "ctx"),
        (
            json!({"events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": []}}]}),
            "spec",
        ),
        (
            json!({"events": [{"kind": "Said", "payload": {"ctx": {}}}]}),
            "ctx.ns_id",
        ),
        (
            json!({"events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spce": {}}}]}),
            "payload.spce",
        ),
        (
            json!({"events": [{"kind": "Said", "paylod": 1, "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "paylod",
        ),
        (
            json!({"events": [{"kind": "Said", "at": -1, "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "at",
        ),
        (
            json!({"events": [{"kind": "Said", "at": 1.5, "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "at",
        ),
        (
            json!({"events": [{"kind": "Said", "at": "1", "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "at",
        ),
        (
            json!({"events": [{"kind": "Said", "at": u64::MAX, "payload": {"ctx": {"ns_id": "ns"}}}]}),
            "at",
        ),
    ];
    for (body, field) in table {
        let answer = desk.send("ingest", "", body.to_string().as_bytes());
        assert_eq!(answer.code(), (422, "not_well_formed"), "{body}");
        assert_eq!(answer.error()[0], field, "{body}");
    }
    let bare = json!({"events": [{"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}}}]});
    assert_eq!(
        desk.send("ingest", "", bare.to_string().as_bytes()).status,
        200,
        "spec may be absent"
    );
}

/// The id may come as a header; one that says otherwise than the body is a mistake.
#[test]
fn the_header_may_give_the_id() {
    let mut desk = desk();
    let bare = format!(r#"{{"events":[{EVENT}]}}"#);
    let named = format!(r#"{{"id":"b2","events":[{EVENT}]}}"#);
    assert_eq!(
        desk.send("ingest", "key=b1", bare.as_bytes()).body["id"],
        "b1"
    );
    assert_eq!(
        desk.send("ingest", "key=b1", bare.as_bytes()).body["duplicate"],
        true
    );
    assert_eq!(
        desk.send("ingest", "key=box%2F1", bare.as_bytes()).body["id"],
        "box/1"
    );
    assert_eq!(
        desk.send("ingest", "key=b1", named.as_bytes()).error()[0],
        "id"
    );
    assert_eq!(
        desk.send("ingest", "key=a%20b", bare.as_bytes()).error()[0],
        "Idempotency-Key"
    );
    assert_eq!(
        desk.send("ingest", "kye=b1", bare.as_bytes()).code(),
        (400, "bad_request")
    );
    assert_eq!(
        desk.send("ingest", "key=a&key=a", bare.as_bytes()).code(),
        (400, "bad_request")
    );
    assert_eq!(
        desk.send("ingest", "dry_run=maybe", bare.as_bytes()).code(),
        (400, "bad_request")
    );
}

#[test]
fn what_is_too_large_is_413() {
    let mut desk = desk();
    let large = with_spec(&format!(r#"{{"x":"{}"}}"#, "a".repeat(1 << 20)));
    assert_eq!(desk.send("ingest", "", &large).code(), (413, "too_large"));
    let fits = with_spec(&format!(r#"{{"x":"{}"}}"#, "a".repeat((1 << 20) - 100)));
    assert_eq!(desk.send("ingest", "", &fits).status, 200);
    // Control characters are longer in the log than they were in memory.
    let escaped = with_spec(&format!(r#"{{"x":"{}"}}"#, "\\u0001".repeat(200_000)));
    assert_eq!(desk.send("ingest", "", &escaped).code(), (413, "too_large"));
    let many = format!(r#"{{"events":[{}]}}"#, vec![EVENT; 100_001].join(","));
    assert_eq!(
        desk.send("ingest", "", many.as_bytes()).code(),
        (413, "too_large")
    );
    let most = format!(r#"{{"events":[{}]}}"#, vec![EVENT; 100_000].join(","));
    assert_eq!(
        desk.send("ingest", "", most.as_bytes()).body["count"],
        100_000
    );
}

#[test]
fn each_field_of_ctx_is_checked_by_itself() {
    let mut desk = desk();
    let table = [
        (
            "ns_id",
            json!(["ns"]),
            json!(["", "a b", 7, null, "-x", "a/b"]),
        ),
        (
            "node_id",
            json!(["n1", "9.a_b-c"]),
            json!(["", "../x", "ü", "x".repeat(129), 1]),
        ),
        ("target", json!(["usage"]), json!(["", 1])),
        (
            "priority",
            json!([0, -5, i64::MAX]),
            json!(["1", 1.0, null, u64::MAX]),
        ),
        (
            "attempt",
            json!([1, 4_294_967_295_u64]),
            json!([0, -1, 4_294_967_296_u64, "1"]),
        ),
        ("epoch", json!([1]), json!([0, 1.0])),
        ("slots", json!([1]), json!([0, "2"])),
        (
            "name",
            json!(["", "any thing", "ü".repeat(200)]),
            json!(["x".repeat(201), 7]),
        ),
        (
            "tasks",
            json!(["0", "0-9,12", "9999999"]),
            json!(["", "5-3", "a", "10000000", 3, "1,,2", "-1", " 1"]),
        ),
        ("entries", json!([[1]]), json!([{}, "1", [], [1, 2]])),
        (
            "after",
            json!([[], ["a", "b"]]),
            json!(["a", [1], [""], {}]),
        ),
        (
            "after_any",
            json!([[], ["a", "b"]]),
            json!(["a", [1], [""], {}]),
        ),
        (
            "after_fail",
            json!([[], ["a", "b"]]),
            json!(["a", [1], [""], {}]),
        ),
        ("after_task", json!([true, false]), json!([1, "true", null])),
        ("hold", json!([true, false]), json!([0, "true", null])),
    ];
    for (field, good, bad) in table {
        for value in good.as_array().unwrap() {
            let answer = desk.offer("Said", json!({field: value}), json!({}));
            assert_eq!(answer.status, 200, "{field}: {value}: {}", answer.body);
        }
        for value in bad.as_array().unwrap() {
            let answer = desk.offer("Said", json!({field: value}), json!({}));
            let is_unknown = field == "ns_id" && value.is_string();
            let expected = if is_unknown { 404 } else { 422 };
            assert_eq!(answer.status, expected, "{field}: {value}");
            if !is_unknown {
                assert_eq!(answer.error()[0], format!("ctx.{field}"), "{value}");
            }
        }
    }
    let unknown = desk.offer("Said", json!({"nodeid": "n"}), json!({}));
    assert_eq!(
        unknown.error(),
        [
            "ctx.nodeid",
            "a field of ctx",
            "an unknown field",
            "did you mean `node_id`?"
        ]
    );
    let unknown = desk.offer("SubmitJob", json!({"after": ["a"]}), json!({}));
    assert_eq!(
        unknown.error(),
        [
            "ctx.after",
            "ids of jobs that exist",
            "\"a\"",
            "submit those first, or in the same batch"
        ]
    );
}

#[test]
fn entries_are_one_per_task() {
    let mut desk = desk();
    let entries = json!({"tasks": "0-2", "entries": ["a", "b"]});
    let answer = desk.offer("SubmitJob", entries, json!({}));
    assert_eq!(
        answer.error()[..3],
        ["ctx.entries", "one value per task: 3", "2 values"]
    );
    let entries = json!({"tasks": "0-2", "entries": ["a", {"b": 1}, 3]});
    assert_eq!(desk.offer("SubmitJob", entries, json!({})).status, 200);
}

/// Query strings of the reads: unknown, repeated and senseless values are 400.
#[test]
fn bad_query_values_are_400() {
    let mut desk = desk();
    let table = [
        ("pull", "gid=kernel&cursor=-1"),
        ("pull", "gid=kernel&cursor=x"),
        ("pull", "gid=kernel&cursor=1.0"),
        ("pull", "gid=kernel&cursor=9223372036854775808"),
        ("pull", "gid=kernel&version=9223372036854775808"),
        (
            "explain",
            "gid=kernel&table=jobs&key=1&column=held&why_not=1",
        ),
        ("pull", "gid=kernel&limit=0"),
        ("pull", "gid=kernel&limit=100001"),
        ("pull", "gid=kernel&wait=61"),
        ("pull", "gid=kernel&wait=-1"),
        ("pull", "gid=kernel&wait=nan"),
        ("pull", "gid=kernel&gid=kernel"),
        ("pull", "cursor=0"),
        ("pull", "gid=%ff"),
        ("pull", "gid=kernel&cusror=0"),
        ("pull", "gid=kernel&row=1"),
        ("pull", "gid=kernel&table=jobs&column=phase"),
        ("jobs", "limit=0"),
        ("jobs", "state=dancing"),
        ("jobs", "order=up"),
        ("nodes", "limit=x"),
    ];
    for (verb, query) in table {
        assert_eq!(
            desk.send(verb, query, b"").code(),
            (400, "bad_request"),
            "{verb}?{query}"
        );
    }
    let hinted = desk.send("pull", "gid=kernel&cusror=0", b"");
    assert_eq!(hinted.body["hint"], "did you mean `cursor`?");
    for (verb, query) in [
        ("pull", "gid=kernle"),
        ("job", "job_id=nope"),
        ("jobs", "after=nope"),
    ] {
        assert_eq!(desk.send(verb, query, b"").status, 404, "{verb}?{query}");
    }
    assert_eq!(
        desk.send("pull", "gid=kernle", b"").body["hint"],
        "did you mean `kernel`?"
    );
    let past = desk.send("pull", "gid=kernel&cursor=99", b"");
    assert_eq!((past.status, &past.body["snapshot"]), (200, &json!(true)));
}
