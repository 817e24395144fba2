//! The fields of a kind: types, bounds, defaults, what is converted and what is unknown.

use serde_json::{Value, json};

use crate::desk::Desk;

/// A field `x` of this type, with further properties.
fn field(expected_type: &str, more: Value) -> Desk {
    let mut field = json!({"key": "x", "expected_type": expected_type});
    field
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    Desk::with_schema(json!({"Said": [field]}))
}

/// What is stored of a value, or what was expected instead.
fn say(desk: &mut Desk, value: &Value) -> Result<Value, String> {
    let answer = desk.offer("Said", json!({}), json!({"x": value}));
    if answer.status == 200 {
        return Ok(desk.stored()["x"].clone());
    }
    assert_eq!(answer.status, 422, "{}", answer.body);
    let [field, expected, ..] = answer.error();
    assert_eq!(field, "spec.x");
    Err(expected.to_owned())
}

#[test]
fn each_type_takes_its_values_and_no_others() {
    let samples = [
        json!("s"),
        json!(""),
        json!("12"),
        json!("-3"),
        json!("+3"),
        json!(" 3"),
        json!("3.0"),
        json!("9223372036854775808"),
        json!(7),
        json!(i64::MIN),
        json!(i64::MAX),
        json!(u64::MAX),
        json!(1.0),
        json!(2.5),
        json!(true),
        json!([1, "a"]),
        json!({"k": 1}),
        json!(null),
    ];
    let taken: [(&str, &[usize]); 6] = [
        ("String", &[0, 1, 2, 3, 4, 5, 6, 7]),
        ("Int", &[2, 3, 8, 9, 10]),
        ("Float", &[8, 9, 10, 12, 13]),
        ("Bool", &[14]),
        ("List", &[15]),
        ("Map", &[16]),
    ];
    for (expected_type, indexes) in taken {
        let mut desk = field(expected_type, json!({}));
        for (index, sample) in samples.iter().enumerate() {
            match say(&mut desk, sample) {
                Ok(_) => assert!(indexes.contains(&index), "{expected_type} takes {sample}"),
                Err(expected) => {
                    assert!(
                        !indexes.contains(&index),
                        "{expected_type} refuses {sample}"
                    );
                    assert_eq!(expected, expected_type);
                }
            }
        }
    }
}

/// Rules, `where` and pulls see what is stored: numbers, also where a string was sent.
#[test]
fn what_is_stored_is_converted() {
    let table = [
        ("Int", json!("12"), "12"),
        ("Int", json!("-0"), "0"),
        ("Int", json!("007"), "7"),
        ("Int", json!("-9223372036854775808"), "-9223372036854775808"),
        ("Float", json!(3), "3.0"),
        ("Float", json!(-0.0), "0.0"),
        ("String", json!("12"), "\"12\""),
        ("List", json!([1.0, -0.0, 2]), "[1.0,0.0,2]"),
    ];
    for (expected_type, value, stored) in table {
        let mut desk = field(expected_type, json!({}));
        assert_eq!(say(&mut desk, &value).unwrap().to_string(), stored);
    }
}

#[test]
fn bounds_hold_numbers_and_lengths() {
    let table = [
        (
            "Int",
            json!({"min": 1, "max": 8}),
            json!([1, 8, "8"]),
            json!([0, 9, "0", -1]),
            "Int from 1 to 8",
        ),
        (
            "Float",
            json!({"min": 0.5}),
            json!([0.5, 1, 1e300]),
            json!([0.4, 0, -1]),
            "Float from 0.5",
        ),
        (
            "String",
            json!({"min": 1, "max": 2}),
            json!(["a", "ü€"]),
            json!(["", "abc"]),
            "String of length from 1 to 2",
        ),
        (
            "List",
            json!({"max": 1}),
            json!([[], [1]]),
            json!([[1, 2]]),
            "List of length to 1",
        ),
        (
            "Map",
            json!({"min": 1}),
            json!([{"a": 1}]),
            json!([{}]),
            "Map of length from 1",
        ),
        (
            "String",
            json!({"one_of": ["a", "b"]}),
            json!(["a"]),
            json!(["c", ""]),
            "String, one of \"a\", \"b\"",
        ),
        (
            "Int",
            json!({"one_of": [1, 2]}),
            json!([1, "2"]),
            json!([3]),
            "Int, one of 1, 2",
        ),
        (
            "Float",
            json!({"one_of": [1, 2.5]}),
            json!([1, 1.0, 2.5]),
            json!([2]),
            "Float, one of 1.0, 2.5",
        ),
    ];
    for (expected_type, more, good, bad, words) in table {
        let mut desk = field(expected_type, more);
        for value in good.as_array().unwrap() {
            assert!(say(&mut desk, value).is_ok(), "{words} takes {value}");
        }
        for value in bad.as_array().unwrap() {
            assert_eq!(say(&mut desk, value), Err(words.to_owned()), "{value}");
        }
    }
}

#[test]
fn formats_keep_out_what_no_system_takes() {
    let table = [
        ("String", "text", json!(["a=b"]), json!(["a\0b"])),
        (
            "List",
            "argv",
            json!([[], ["a", ""]]),
            json!([["a\0"], [1]]),
        ),
        (
            "Map",
            "env",
            json!([{}, {"A": "b=c"}]),
            json!([{"": "x"}, {"A=B": "x"}, {"A\0": "x"}, {"A": "x\0"}, {"A": 1}]),
        ),
    ];
    for (expected_type, format, good, bad) in table {
        let mut desk = field(expected_type, json!({"format": format}));
        for value in good.as_array().unwrap() {
            assert!(say(&mut desk, value).is_ok(), "{format} takes {value}");
        }
        for value in bad.as_array().unwrap() {
            assert!(say(&mut desk, value).is_err(), "{format} refuses {value}");
        }
    }
}

#[test]
fn defaults_are_filled_before_storing() {
    let mut desk = Desk::with_schema(json!({"Said": [
        {"key": "n", "expected_type": "Int", "default": "5"},
        {"key": "x", "expected_type": "Float", "default": 1},
        {"key": "none", "expected_type": "Int"},
        {"key": "must", "expected_type": "Int", "required": true},
    ]}));
    let answer = desk.offer("Said", json!({}), json!({"must": "4"}));
    assert_eq!(answer.status, 200);
    assert_eq!(desk.stored().to_string(), r#"{"must":4,"n":5,"x":1.0}"#);
    let missing = desk.offer("Said", json!({}), json!({"n": 1}));
    assert_eq!(missing.error(), ["spec.must", "Int", "nothing", ""]);
    let null = desk.offer("Said", json!({}), json!({"must": 1, "n": null}));
    assert_eq!(null.error()[..3], ["spec.n", "Int", "null"]);
}

#[test]
fn unknown_fields_are_errors_with_the_nearest_name() {
    let fields =
        json!([{"key": "memory", "expected_type": "Int"}, {"key": "cpu", "expected_type": "Int"}]);
    let mut desk = Desk::with_schema(json!({"Said": fields}));
    let near = desk.offer("Said", json!({}), json!({"memroy": 1}));
    assert_eq!(
        near.error(),
        [
            "spec.memroy",
            "a field of the schema",
            "an unknown field",
            "did you mean `memory`?"
        ]
    );
    let far = desk.offer("Said", json!({}), json!({"zzzzzzzz": 1}));
    assert_eq!(far.error()[3], "known: memory, cpu");
    assert_eq!(far.body["hint"], "known: memory, cpu");
}

/// Three ways to open a kind; what is named is checked as ever.
#[test]
fn an_open_kind_takes_fields_that_it_does_not_name() {
    let x = json!({"key": "x", "expected_type": "Int"});
    let specs = [
        json!({"schema": {"Said": {"fields": [x], "open": true}}}),
        json!({"schema": {"Said": [x, {"open": true}]}}),
        json!({"schema": {"Said": [x]}, "open": ["Said"]}),
    ];
    for spec in specs {
        let mut desk = Desk::new();
        desk.register("ns", spec);
        let free = json!({"x": "1", "free": {"deep": [1, "a"]}});
        assert_eq!(desk.offer("Said", json!({}), free).status, 200);
        assert_eq!(
            desk.stored().to_string(),
            r#"{"free":{"deep":[1,"a"]},"x":1}"#
        );
        assert_eq!(
            desk.offer("Said", json!({}), json!({"x": "one"})).error()[0],
            "spec.x"
        );
    }
}

#[test]
fn a_kind_that_is_not_listed_is_refused_with_those_that_are() {
    let mut desk = Desk::with_schema(json!({"Said": [], "Heard": []}));
    let near = desk.offer("Sadi", json!({}), json!({}));
    assert_eq!(
        near.error(),
        [
            "kind",
            "a kind of namespace `ns`",
            "\"Sadi\"",
            "did you mean `Said`?"
        ]
    );
    let far = desk.offer("SubmitJob", json!({}), json!({}));
    assert_eq!(far.error()[3], "known: Heard, Said");
}

#[test]
fn an_unknown_namespace_is_404_with_those_that_exist() {
    let mut desk = Desk::new();
    let none = desk.offer("Said", json!({}), json!({}));
    assert_eq!(none.code(), (404, "unknown_namespace"));
    assert_eq!(
        none.body["hint"],
        "none is registered yet: hpc ns register FILE"
    );
    desk.register("batch", json!({"schema": {}}));
    let near =
        desk.ingest(&[json!({"kind": "Said", "payload": {"ctx": {"ns_id": "bacth"}, "spec": {}}})]);
    assert_eq!(near.code(), (404, "unknown_namespace"));
    assert_eq!(near.body["known"], json!(["batch"]));
    assert_eq!(near.body["hint"], "did you mean `batch`?");
}

/// Every bad event is named, a hundred of them at most.
#[test]
fn every_bad_event_of_a_batch_is_named() {
    let mut desk = field("Int", json!({}));
    let event = |value: Value| json!({"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": {"x": value}}});
    let events = [
        event(json!(1)),
        event(json!("two")),
        event(json!(3)),
        event(json!([])),
    ];
    let answer = desk.ingest(&events);
    assert_eq!(answer.code(), (422, "not_well_formed"));
    let errors = answer.body["errors"].as_array().unwrap();
    let named: Vec<_> = errors
        .iter()
        .map(|e| (e["event"].as_u64().unwrap(), &e["got"]))
        .collect();
    assert_eq!(named, [(1, &json!("\"two\"")), (3, &json!("[]"))]);
    assert_eq!(
        answer.body["detail"],
        "event 1: `spec.x` must be Int, got \"two\""
    );
    let many: Vec<Value> = (0..300).map(|_| event(json!("bad"))).collect();
    assert_eq!(
        desk.ingest(&many).body["errors"].as_array().unwrap().len(),
        100
    );
}
