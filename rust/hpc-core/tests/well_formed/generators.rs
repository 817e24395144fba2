//! Registrations of generators: rules are type-checked against the schemas that they read.

use hpc_core::logic::hub::Input;
use serde_json::{Value, json};

use crate::desk::{Desk, generator};

fn desk() -> Desk {
    Desk::with_schema(json!({
        "Said": [
            {"key": "s", "expected_type": "String"}, {"key": "i", "expected_type": "Int"},
            {"key": "f", "expected_type": "Float"}, {"key": "b", "expected_type": "Bool"},
            {"key": "l", "expected_type": "List"}, {"key": "m", "expected_type": "Map"},
            {"key": "p", "expected_type": "String", "one_of": ["run", "ok", "bad"]},
        ],
        "Open": {"fields": [], "open": true},
        "SubmitJob": [{"key": "i", "expected_type": "Int"}],
    }))
}

fn rule(join: Value) -> Value {
    json!({"on": "Said", "table": "t", "key": "$ctx.node_id", "join": join})
}

fn spec(rules: Value) -> Value {
    json!({"namespaces": ["ns"], "rules": rules})
}

/// Whether a rule that joins this into column `x` is taken.
fn takes(desk: &mut Desk, number: usize, join: &Value) -> bool {
    let request = generator(
        &format!("g{number}"),
        spec(json!([rule(json!({"x": join}))])),
    );
    let answer = desk.control(&request);
    if answer.status != 200 {
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.error()[0], "spec.rules[0].join.x", "{}", answer.body);
    }
    answer.status == 200
}

#[test]
fn each_lattice_takes_fields_that_fit_it() {
    let fields = [
        "$spec.s", "$spec.i", "$spec.f", "$spec.b", "$spec.l", "$spec.m",
    ];
    let table = [
        ("max", [true, true, true, false, false, false]),
        ("min", [true, true, true, false, false, false]),
        ("or", [false, false, false, true, false, false]),
        ("once", [true; 6]),
        ("last", [true; 6]),
        ("set", [true; 6]),
        ("tasks", [true, false, false, false, false, false]),
        ("count", [false, true, false, false, false, false]),
        ("sum", [false, true, false, false, false, false]),
    ];
    let mut desk = desk();
    let mut number = 0;
    for (lattice, expected) in table {
        for (field, fits) in fields.iter().zip(expected) {
            number += 1;
            let join = json!({lattice: field});
            assert_eq!(takes(&mut desk, number, &join), fits, "{join}");
            let nested = json!({"epoch": {"at": "$spec.i", "join": join}});
            assert_eq!(takes(&mut desk, 100 + number, &nested), fits, "{nested}");
            let mapped = json!({"map": {"key": "$spec.s", "join": nested}});
            assert_eq!(takes(&mut desk, 200 + number, &mapped), fits, "{mapped}");
        }
    }
}

#[test]
fn expressions_are_references_or_literals() {
    let mut desk = desk();
    let good = [
        json!({"max": "$at"}),
        json!({"max": "$seq"}),
        json!({"set": "$kind"}),
        json!({"count": 1}),
        json!({"once": "plain text"}),
        json!({"once": {"a": "$spec.i", "b": 2}}),
        json!({"last": "$ctx.entries"}),
        json!({"max": "$ctx.priority"}),
        json!({"tasks": "$ctx.tasks"}),
        json!({"or": true}),
    ];
    for (number, join) in good.iter().enumerate() {
        assert!(takes(&mut desk, number, join), "{join}");
    }
    let bad = [
        json!({"max": "$spec.nope"}),
        json!({"max": "$ctx.nope"}),
        json!({"max": "$nope"}),
        json!({"max": "$spec."}),
        json!({"once": null}),
        json!({"once": {"a": "$spec.nope"}}),
        json!({"max": true}),
        json!({"or": 1}),
        json!({"count": "one"}),
        json!({"sum": 1.5}),
        json!({"max": "$ctx.after"}),
    ];
    for (number, join) in bad.iter().enumerate() {
        assert!(!takes(&mut desk, 100 + number, join), "{join}");
    }
}

#[test]
fn a_column_names_one_lattice_that_is_built() {
    let mut desk = desk();
    let bad = [
        (json!({"maximum": "$spec.i"}), "a lattice"),
        (json!({"mx": "$spec.i"}), "did you mean `max`?"),
        (json!({"map": {"at": "$kind", "join": {"max": 1}}}), "map"),
        (
            json!({"map": {"key": "$spec.l", "join": {"max": "$spec.i"}}}),
            "as a key for map",
        ),
        (json!({"finite": {}}), "order"),
        (
            json!({"finite": {"order": {"run": ["ok", "bad"]}, "value": "$spec.p"}}),
            "nothing lies above both `bad` and `ok`",
        ),
        (
            json!({"finite": {"order": {"run": ["ok"], "ok": ["run"]}, "value": "$spec.p"}}),
            "lie above each other",
        ),
        (
            json!({"finite": {"order": {"run": ["ok"]}, "value": "$spec.p"}}),
            "ok, run for finite",
        ),
        (
            json!({"finite": {"order": {"run": ["ok"]}, "value": "$spec.s"}}),
            "ok, run for finite",
        ),
        (json!({}), "one lattice"),
        (json!({"max": "$spec.i", "min": "$spec.i"}), "one lattice"),
        (json!("max"), "one lattice"),
        (json!({"epoch": {"at": "$spec.i"}}), "epoch"),
        (
            json!({"epoch": {"at": "$spec.i", "join": {"epoch": {"at": 1, "join":
                {"map": {"key": "k", "join": {"max": 1}}}}}}}),
            "nesting",
        ),
        (
            json!({"epoch": {"at": "$spec.l", "join": {"max": "$spec.i"}}}),
            "totally ordered",
        ),
    ];
    for (join, words) in bad {
        let answer = desk.control(&generator("g", spec(json!([rule(json!({"x": join}))]))));
        assert_eq!(answer.status, 422, "{join}");
        let [field, expected, ..] = answer.error();
        assert_eq!(field, "spec.rules[0].join.x", "{join}");
        assert!(expected.contains(words), "{join}: {expected}");
    }
}

#[test]
fn a_column_has_one_lattice_in_all_rules() {
    let mut desk = desk();
    let epoch = |join: Value| json!({"epoch": {"at": "$spec.i", "join": join}});
    let pairs = [
        (json!({"max": "$spec.i"}), json!({"min": "$spec.i"})),
        (json!({"max": "$spec.i"}), epoch(json!({"max": "$spec.i"}))),
        (
            epoch(json!({"max": "$spec.i"})),
            epoch(json!({"min": "$spec.i"})),
        ),
    ];
    for (a, b) in pairs {
        let rules = json!([rule(json!({"x": a})), rule(json!({"x": b}))]);
        let answer = desk.control(&generator("g", spec(rules)));
        assert_eq!(
            (answer.status, answer.error()[0]),
            (422, "spec.rules[1].join.x")
        );
    }
    let mut elsewhere = rule(json!({"x": {"min": "$spec.i"}}));
    elsewhere["table"] = json!("other");
    let rules = json!([rule(json!({"x": {"max": "$spec.i"}})), elsewhere]);
    assert_eq!(
        desk.control(&generator("g", spec(rules))).status,
        200,
        "tables are apart"
    );
}

#[test]
fn a_rule_is_refused_by_the_name_of_its_part() {
    let mut desk = desk();
    let with = |part: &str, value: Value| {
        let mut rule = rule(json!({"x": {"max": "$spec.i"}}));
        match value {
            Value::Null => rule.as_object_mut().unwrap().remove(part),
            value => rule.as_object_mut().unwrap().insert(part.to_owned(), value),
        };
        spec(json!([rule]))
    };
    let table = [
        (
            json!({"rules": [rule(json!({"x": {"max": 1}}))]}),
            "spec.namespaces",
        ),
        (json!({"namespaces": ["ns"], "rules": []}), "spec.rules"),
        (json!({"namespaces": ["ns"], "rules": [7]}), "spec.rules[0]"),
        (
            json!({"namespaces": ["ns"], "rules": [rule(json!({"x": {"max": 1}}))], "callback_url": 7}),
            "spec.callback_url",
        ),
        (with("on", Value::Null), "spec.rules[0].on"),
        (with("on", json!([])), "spec.rules[0].on"),
        (with("on", json!("Dance")), "spec.rules[0].on"),
        (with("on", json!(["Said", "Dance"])), "spec.rules[0].on"),
        (with("table", json!("a b")), "spec.rules[0].table"),
        (with("key", Value::Null), "spec.rules[0].key"),
        (with("key", json!([])), "spec.rules[0].key"),
        (with("key", json!("$spec.l")), "spec.rules[0].key"),
        (
            with("key", json!(["$kind", "$spec.nope"])),
            "spec.rules[0].key",
        ),
        (with("key", json!("$nope")), "spec.rules[0].key"),
        (with("where", json!([])), "spec.rules[0].where"),
        (
            with("where", json!({"$spec.nope": 1})),
            "spec.rules[0].where",
        ),
        (with("where", json!({"plain": 1})), "spec.rules[0].where"),
        (with("join", json!({})), "spec.rules[0].join"),
        (
            with("join", json!({"a b": {"max": 1}})),
            "spec.rules[0].join.a b",
        ),
        (with("wehre", json!({})), "spec.rules[0].wehre"),
    ];
    for (spec, field) in table {
        let answer = desk.control(&generator("g", spec.clone()));
        assert_eq!((answer.status, answer.error()[0]), (422, field), "{spec}");
    }
    let near = desk.control(&generator("g", with("wehre", json!({}))));
    assert_eq!(near.error()[3], "did you mean `where`?");
}

#[test]
fn a_callback_is_a_text_that_the_hub_judges() {
    let mut desk = desk();
    let with = |url: Value| {
        let rules = json!([rule(json!({"x": {"max": 1}}))]);
        json!({"namespaces": ["ns"], "rules": rules, "callback_url": url})
    };
    let longest = json!("x".repeat(2048));
    for (gid, url) in [
        ("g0", Value::Null),
        ("g1", json!("http://x")),
        ("g2", longest),
    ] {
        let answer = desk.control(&generator(gid, with(url)));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    let answer = desk.control(&generator("g3", with(json!("x".repeat(2049)))));
    assert_eq!(answer.error()[0], "spec.callback_url", "{}", answer.body);
}

#[test]
fn a_generator_reads_namespaces_that_exist_and_takes_a_free_id() {
    let mut desk = desk();
    let rules = json!([rule(json!({"x": {"max": 1}}))]);
    let nowhere = generator("g", json!({"namespaces": ["nowhere"], "rules": rules}));
    assert_eq!(desk.control(&nowhere).code(), (404, "unknown_namespace"));
    let kernel = desk.control(&generator("kernel", spec(rules)));
    assert_eq!((kernel.status, kernel.error()[0]), (422, "gid"));
}

/// Fields of the kernel's kinds and of open kinds are of any type; what an event brings that does
/// not fit adds nothing.
#[test]
fn what_does_not_fit_at_run_time_adds_nothing() {
    let mut desk = desk();
    let rules = json!([
        {"on": "Open", "table": "t", "key": "all", "join": {
            "sum": {"sum": "$spec.x"}, "or": {"or": "$spec.x"}, "tasks": {"tasks": "$spec.x"}, "max": {"max": "$spec.x"}}},
    ]);
    assert_eq!(desk.control(&generator("g", spec(rules))).status, 200);
    for x in [
        json!([1]),
        json!(null),
        json!("not a range"),
        json!(1.5),
        json!(u64::MAX),
        json!({}),
    ] {
        assert_eq!(desk.offer("Open", json!({}), json!({"x": x})).status, 200);
    }
    let pulled = desk.send("pull", "gid=g&cursor=0", b"");
    let row = &pulled.body["facts"]["t"]["all"];
    assert!(
        row["sum"].is_null() && row["or"].is_null() && row["tasks"].is_null(),
        "{row}"
    );
}

/// A diagram as data: what two events say that contradict each other is what lies above both.
#[test]
fn phases_that_are_no_line_are_a_diagram() {
    let mut desk = desk();
    let order = json!({"run": ["ok", "bad"], "ok": ["both"], "bad": ["both"]});
    let phase = json!({"finite": {"order": order, "value": "$spec.p"}});
    let round = json!({"epoch": {"at": "$spec.i", "join": phase}});
    let by = json!({"map": {"key": "$ctx.name", "join": {"count": 1}}});
    let rules = json!([rule(json!({"phase": phase, "round": round, "by": by}))]);
    assert_eq!(desk.control(&generator("g", spec(rules))).status, 200);
    let mut said = |p: &str, i: i64, name: &str| {
        let ctx = json!({"node_id": "n", "name": name});
        assert_eq!(desk.offer("Said", ctx, json!({"p": p, "i": i})).status, 200);
        let mut pulled = desk.send("pull", "gid=g&cursor=0", b"");
        pulled.body["facts"]["t"]["n"].take()
    };
    let row = said("run", 1, "a");
    assert!(row["phase"].is_null(), "the bottom says nothing: {row}");
    assert_eq!(said("ok", 1, "a")["phase"], "ok");
    assert_eq!(said("run", 1, "b")["phase"], "ok");
    let row = said("bad", 2, "a");
    assert_eq!(row["phase"], "both");
    assert_eq!(row["round"], json!({"at": 2, "value": "bad"}));
    assert_eq!(row["by"], json!({"a": 3, "b": 1}));
    desk.restart();
    let pulled = desk.send("pull", "gid=g&cursor=0", b"");
    assert_eq!(pulled.body["facts"]["t"]["n"], row, "replay is the same");
}

/// A row key is at most 1 KiB, also one that is made of several parts.
#[test]
fn a_row_key_is_at_most_a_kibibyte() {
    let mut desk = desk();
    let rules = json!([{"on": "Said", "table": "t", "key": ["$spec.s", "$kind"], "join": {"n": {"count": 1}}}]);
    assert_eq!(desk.control(&generator("g", spec(rules))).status, 200);
    let fits = "x".repeat(1024 - r#"["","Said"]"#.len());
    assert_eq!(
        desk.offer("Said", json!({}), json!({"s": fits})).status,
        200
    );
    let long = desk.offer("Said", json!({}), json!({"s": format!("{fits}x")}));
    assert_eq!((long.status, long.error()[0]), (422, "spec"));
    assert!(
        long.error()[1].contains("1024 bytes in `g`"),
        "{:?}",
        long.error()
    );
}

/// What a relay reports is recorded, whatever a generator makes of it.
#[test]
fn no_generator_refuses_a_report() {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"resources": {"cpus": 1}, "schema": {"SubmitJob": []}}),
    );
    let rules = json!([{"on": "JobFinished", "table": "t", "key": "$spec.detail", "join": {"n": {"count": 1}}}]);
    assert_eq!(desk.control(&generator("g", spec(rules))).status, 200);
    desk.offer("SubmitJob", json!({"job_id": "j"}), json!({}));
    let claim = json!({
        "node_id": "n", "host": "h", "place": "p", "session": "s", "epoch": 1, "n": 1,
        "ns": ["ns"], "resources": {"cpus": 1}, "max": 1, "wait": 0, "holds": [],
    });
    assert_eq!(
        desk.send("claim", "", claim.to_string().as_bytes()).status,
        200
    );
    let ctx = json!({"job_id": "j", "tasks": "0", "attempt": 1, "node_id": "n", "epoch": 1});
    let detail = "why ".repeat(400);
    let figures = json!({"exit_code": 3, "started_at": 1, "finished_at": 2, "detail": detail});
    let answer = desk.offer("JobFinished", ctx, figures);
    assert_eq!(answer.status, 200, "{}", answer.body);
    let pulled = desk.send("pull", "gid=g&cursor=0", b"");
    assert_eq!(pulled.body["facts"]["t"][detail]["n"], 1);
}

/// Every way to a long key is seen: a seq, a job's number, many parts, characters that are escaped.
#[test]
fn a_row_key_is_measured_as_it_will_be() {
    let mut desk = desk();
    let key = |gid, key| {
        let rules = json!([{"on": "Said", "table": "t", "key": key, "join": {"n": {"count": 1}}}]);
        generator(gid, spec(rules))
    };
    for (gid, parts) in [
        ("by-seq", json!(["$seq", "$spec.s"])),
        ("twice", json!(["$spec.s", "$spec.s", "$spec.s", "$spec.s"])),
    ] {
        assert_eq!(desk.control(&key(gid, parts)).status, 200);
    }
    let long = desk.offer("Said", json!({}), json!({"s": "x".repeat(1_100)}));
    assert_eq!(long.status, 422);
    assert!(long.error()[1].contains("`by-seq`"), "{:?}", long.error());
    let parts = desk.offer("Said", json!({}), json!({"s": "x".repeat(260)}));
    assert_eq!(parts.status, 422);
    assert!(parts.error()[1].contains("`twice`"), "{:?}", parts.error());
    let escaped = desk.offer("Said", json!({}), json!({"s": "\u{1}".repeat(100)}));
    assert_eq!(escaped.status, 422, "{}", escaped.body);
    let short = desk.offer("Said", json!({}), json!({"s": "x".repeat(200)}));
    assert_eq!(short.status, 200, "{}", short.body);
}

/// However large a batch is, a turn works through a share of it; what is read once is kept.
#[test]
fn a_large_batch_is_built_over_several_turns() {
    let mut desk = desk();
    let said = json!({"kind": "Said", "payload": {"ctx": {"ns_id": "ns", "node_id": "n1"},
        "spec": {"s": "x".repeat(100)}}});
    assert_eq!(desk.ingest(&vec![said; 20_000]).status, 200);
    let late = generator("g", spec(json!([rule(json!({"n": {"count": 1}}))])));
    let body = late.to_string();
    let input = Input {
        token: 1,
        verb: "control",
        query: "",
        body: body.as_bytes(),
        who: "",
    };
    let mut turn = desk.hub.step(&[input], desk.now, &[]).unwrap();
    desk.log.append(&mut turn.rows);
    let mut shares = 0;
    let mut reads = 0;
    while turn.build_from.is_some() || turn.wake == Some(desk.now.mono) {
        let rows = turn.build_from.map_or(&[][..], |_| &desk.log);
        reads += u32::from(turn.build_from.is_some());
        turn = desk.hub.step(&[], desk.now, rows).unwrap();
        shares += 1;
        assert_eq!(turn.pokes.len(), 1, "a cell grew in each share");
    }
    assert_eq!(reads, 1, "what was read once is kept");
    assert!((4..=20).contains(&shares), "{shares}");
    let pulled = desk.send("pull", "gid=g&cursor=0", b"");
    assert_eq!(pulled.body["facts"], json!({"t": {"n1": {"n": 20_000}}}));
    assert!(pulled.body["building"].is_null());
}

/// A kind that a rule names twice is read once.
#[test]
fn a_kind_that_is_named_twice_counts_once() {
    let mut desk = desk();
    let mut twice = rule(json!({"n": {"count": 1}}));
    twice["on"] = json!(["Said", "Said"]);
    assert_eq!(
        desk.control(&generator("g", spec(json!([twice])))).status,
        200
    );
    desk.offer("Said", json!({"node_id": "n1"}), json!({}));
    let pulled = desk.send("pull", "gid=g&cursor=0", b"");
    assert_eq!(pulled.body["facts"], json!({"t": {"n1": {"n": 1}}}));
}
