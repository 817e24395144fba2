//! MessagePack says what JSON says, and nothing else.

use hpc_core::domain::json;
use hpc_core::domain::msgpack::{decode_either, from_json};
use proptest::prelude::*;
use serde_json::Value;

fn values() -> BoxedStrategy<Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        (-300i64..70_000).prop_map(Value::from),
        any::<f32>()
            .prop_filter("finite", |x| x.is_finite())
            .prop_map(|x| Value::from(f64::from(x))),
        any::<String>().prop_map(Value::from),
        (30usize..40).prop_map(|n| Value::from("x".repeat(n))),
    ];
    leaf.prop_recursive(4, 64, 20, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..20).prop_map(Value::from),
            proptest::collection::btree_map(any::<String>(), inner, 0..20)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
    .boxed()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// A value that went through MessagePack is the value that went through JSON.
    #[test]
    fn both_forms_say_the_same(value in values()) {
        let body = serde_json::json!({"v": value}).to_string();
        let packed = from_json(body.as_bytes()).unwrap();
        prop_assert_eq!(decode_either(&packed), json::decode(body.as_bytes()));
    }

    /// Noise, and bytes that are cut or altered, are refused in a sentence or read; never a panic.
    #[test]
    fn hostile_bytes_never_panic(value in values(), place in any::<usize>(), byte in any::<u8>()) {
        let body = serde_json::json!({"v": value}).to_string();
        let mut packed = from_json(body.as_bytes()).unwrap();
        let place = place % packed.len();
        prop_assert!(decode_either(&packed[..place]).is_err());
        packed[place] = byte;
        let _ = decode_either(&packed);
    }
}

/// What JSON has not is refused, and so is a length that promises more than there is.
#[test]
fn what_json_has_not_is_refused() {
    let deep = [&[0x81, 0xa1, b'v'][..], &[0x91; 64], &[0xc0]].concat();
    let table: [(&[u8], &str); 13] = [
        (b"\x81\xa1v\xc4\x01x", "no bin or ext"),
        (b"\x81\xa1v\xd4\x01x", "no bin or ext"),
        (b"\x81\xa1v\xd6\xff\0\0\0\0", "no bin or ext"),
        (b"\x81\xa1v\xc1", "no bin or ext"),
        (b"\x81\x01\x02", "a String as key"),
        (b"\x82\xa1v\x01\xa1v\x02", "no repeated key `v`"),
        (b"\x81\xa1v\xcb\x7f\xf8\0\0\0\0\0\0", "finite floats"),
        (b"\x81\xa1v\xca\x7f\x80\0\0", "finite floats"),
        (b"\x81\xa1v\xa2\xff\xfe", "UTF-8"),
        (b"\x81\xa1v\x01\x01", "nothing behind the value"),
        (b"\x81\xa1v\xdd\xff\xff\xff\xff", "ends too early"),
        (b"\xdf\xff\xff\xff\xff", "ends too early"),
        (&deep, "nested deeper than 64"),
    ];
    for (body, words) in table {
        let refusal = decode_either(body).unwrap_err();
        assert!(refusal.contains(words), "{body:?}: {refusal}");
    }
    assert!(
        decode_either(&deep[3..deep.len()]).is_ok(),
        "64 levels are fine"
    );
}

/// An answer wraps what was taken, which may be as deep as anything may be.
#[test]
fn an_answer_may_be_deeper_than_what_is_taken() {
    let nested = |depth: usize| format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
    assert!(decode_either(nested(65).as_bytes()).is_err());
    let packed = from_json(nested(80).as_bytes()).unwrap();
    assert_eq!(packed, [vec![0x91; 80], vec![1]].concat());
    assert!(from_json(nested(1000).as_bytes()).is_err());
}
