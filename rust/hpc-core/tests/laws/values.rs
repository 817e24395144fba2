//! Values: a total order, one text and one encoding per value.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};

use hpc_core::lattice::Atom;
use hpc_core::lattice::codec::{Codec, DecodeReason, put_uint};
use hpc_core::lattice::value::BadAtom;
use proptest::prelude::*;

use super::elements::{atoms, floats, json};
use super::{assert_canonical, config};

fn hash(atom: &Atom) -> u64 {
    let mut hasher = DefaultHasher::new();
    atom.hash(&mut hasher);
    hasher.finish()
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn the_order_is_total(a in atoms(), b in atoms(), c in atoms()) {
        prop_assert_eq!(a.cmp(&b), b.cmp(&a).reverse());
        prop_assert_eq!(a.cmp(&b).is_eq(), a == b);
        prop_assert!(!(a <= b && b <= c) || a <= c);
        prop_assert!(a != b || hash(&a) == hash(&b));
    }

    #[test]
    fn text_says_the_value_and_only_it(a in atoms(), b in atoms()) {
        prop_assert_eq!(Atom::parse(&a.to_json()), Ok(a.clone()));
        prop_assert_eq!(a.to_json() == b.to_json(), a == b);
    }

    #[test]
    fn lists_and_maps_have_one_text(value in json()) {
        let atom = Atom::from_value(&value).unwrap();
        let pretty = serde_json::to_string_pretty(&value).unwrap();
        prop_assert_eq!(Atom::parse(&pretty), Ok(atom));
    }

    #[test]
    fn floats_stay_floats(float in floats()) {
        let atom = Atom::float(float).unwrap();
        prop_assert_eq!(atom.as_float(), Some(float));
        prop_assert_eq!(Atom::parse(&atom.to_json()), Ok(atom.clone()));
        let list = Atom::parse(&format!("[{float:?}]")).unwrap();
        prop_assert_eq!(list.to_json(), format!("[{}]", atom.to_json()));
    }

    #[test]
    fn bytes_say_the_value_and_only_it(a in atoms(), b in atoms()) {
        prop_assert_eq!(Atom::from_bytes(&a.to_bytes()), Ok(a.clone()));
        prop_assert_eq!(a.to_bytes() == b.to_bytes(), a == b);
    }

    #[test]
    fn hostile_bytes_never_panic(noise in proptest::collection::vec(any::<u8>(), 0..40), tag in 0u8..7) {
        assert_canonical::<Atom>(&noise);
        let tagged: Vec<u8> = std::iter::once(tag).chain(noise).collect();
        assert_canonical::<Atom>(&tagged);
    }
}

/// Rules compare values of different types; the design fixes how.
#[test]
fn types_are_ordered_before_values() {
    let ascending = [
        "false",
        "true",
        "-9223372036854775808",
        "9223372036854775807",
        "-1e308",
        "0.0",
        "0.5",
        "\"\"",
        "\"Z\"",
        "\"a\"",
        "\"\u{e9}\"",
        "\"\u{1f600}\"",
        "[2]",
        "[]",
        "{}",
    ]
    .map(|text| Atom::parse(text).unwrap());
    assert!(ascending.is_sorted_by(|a, b| a < b));
}

/// Each would break the order, or the promise that a reader gets back what was said.
#[test]
fn values_outside_the_order_are_refused() {
    for float in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert_eq!(Atom::float(float), Err(BadAtom::NotFinite));
    }
    assert_eq!(Atom::parse("null"), Err(BadAtom::Null));
    assert_eq!(
        Atom::parse("9223372036854775808"),
        Err(BadAtom::IntTooLarge(1 << 63))
    );
    for text in [
        "NaN",
        "1e400",
        "{\"a\":1",
        "1 2",
        "",
        "\"\\ud800\"",
        &"[".repeat(300),
    ] {
        assert!(
            matches!(Atom::parse(text), Err(BadAtom::NotJson(_))),
            "{text}"
        );
    }
}

/// Text of a cell is compared, hashed and shown; a second spelling would be a second value.
#[test]
fn the_text_is_canonical() {
    for (said, text) in [
        (
            r#" {"b" : 1, "a" : [true, null, -0.0, 1E2]} "#,
            r#"{"a":[true,null,0.0,100.0],"b":1}"#,
        ),
        (r#""A\u00e9\/\u0001\n""#, "\"A\u{e9}/\\u0001\\n\""),
        ("-0.0", "0.0"),
        ("1e16", "1e16"),
        ("1.5e-9", "1.5e-9"),
        ("18014398509481985.0", "1.8014398509481984e16"),
    ] {
        assert_eq!(Atom::parse(said).unwrap().to_json(), text);
    }
    let names = ["true", "1", "1.0", "\"\"", "[]", "{}"].map(|x| Atom::parse(x).unwrap());
    let names = names.map(|atom| atom.type_name());
    assert_eq!(names, ["Bool", "Int", "Float", "String", "List", "Map"]);
}

/// serde_json without `float_roundtrip` reads this one a bit too low.
#[test]
fn floats_are_read_exactly() {
    for text in [
        "2.2250738585072014e-308",
        "1.0715660391465174e-285",
        "5e-324",
        "0.1",
    ] {
        let exact: f64 = text.parse().unwrap();
        assert_eq!(Atom::parse(text).unwrap().as_float(), Some(exact));
    }
}

/// A second encoding of a value would make equal snapshots unequal.
#[test]
fn other_spellings_in_bytes_are_refused() {
    let with = |tag: u8, text: &str| {
        let mut bytes = vec![tag];
        put_uint(text.len() as u64, &mut bytes);
        bytes.extend_from_slice(text.as_bytes());
        bytes
    };
    let float = |float: f64| [vec![3], float.to_bits().to_le_bytes().to_vec()].concat();
    for (bytes, reason) in [
        (vec![2, 0x80, 0], DecodeReason::NotCanonical), // 0 in two bytes
        (float(-0.0), DecodeReason::NotCanonical),
        (float(f64::NAN), DecodeReason::NotCanonical),
        (with(5, "[1, 2]"), DecodeReason::NotCanonical),
        (with(5, r#"{"b":1,"a":1}"#), DecodeReason::NotCanonical),
        (with(5, "7"), DecodeReason::NotCanonical), // an Int is no List
        (vec![4, 1, 0xff], DecodeReason::NotUtf8),
        (vec![4, 9, b'a'], DecodeReason::CutShort),
        (vec![6], DecodeReason::UnknownTag(6)),
        ([vec![2], vec![0xff; 10]].concat(), DecodeReason::OutOfRange),
    ] {
        assert_eq!(
            Atom::from_bytes(&bytes).unwrap_err().reason,
            reason,
            "{bytes:?}"
        );
    }
}
