//! The decoder of JSON against serde_json: what one takes the other takes, as the same value, but for
//! what ours refuses on purpose; and a text that is kept is the canonical one.

use hpc_core::domain::json::{DEPTH_MAX, Map, Value, decode, decode_first, decode_own};
use proptest::prelude::*;

use super::elements;

/// A value of serde_json as ours; `None` where ours refuses it.
fn ours(value: &serde_json::Value) -> Value<'static> {
    use serde_json::Value as Theirs;
    match value {
        Theirs::Null => Value::Null,
        Theirs::Bool(b) => Value::Bool(*b),
        Theirs::Number(n) => match (n.as_i64(), n.as_u64()) {
            (Some(n), _) => Value::Int(n),
            (None, Some(n)) => Value::Big(n),
            _ => Value::Float(n.as_f64().unwrap() + 0.0),
        },
        Theirs::String(text) => Value::text(text.clone()),
        Theirs::Array(list) => Value::List(list.iter().map(ours).collect()),
        Theirs::Object(map) => {
            let pairs = map.iter().map(|(key, value)| (key.clone(), ours(value)));
            Value::Map(pairs.collect())
        }
    }
}

/// What only ours refuses: serde_json takes the last, or the nearest.
const ON_PURPOSE: [&str; 2] = ["repeated key", "does not fit in 64 bits"];

fn same(text: &[u8]) {
    let theirs = serde_json::from_slice::<serde_json::Value>(text);
    let mine = decode(text);
    if let Err(why) = &mine
        && ON_PURPOSE.iter().any(|purpose| why.contains(purpose))
    {
        return;
    }
    if let Ok(value) = &mine {
        holds_its_text(value);
    }
    let shown = String::from_utf8_lossy(text);
    assert_eq!(mine.ok(), theirs.ok().as_ref().map(ours), "{shown:?}");
}

/// That what a map says is its text is what would be written without it.
fn holds_its_text(value: &Value<'_>) {
    match value {
        Value::Map(map) => {
            let written: Map<'_> = map.clone().into_owned();
            assert!(written.text().is_none());
            assert_eq!(map.to_text(), written.to_text());
            map.iter().for_each(|(_, value)| holds_its_text(value));
        }
        Value::List(list) => list.iter().for_each(holds_its_text),
        _ => {}
    }
}

/// Texts near JSON: its own bytes in any order, and words of it.
fn near_json() -> impl Strategy<Value = String> {
    let words = [
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "\"",
        "\"a\"",
        "\"b\"",
        "\"\\n\"",
        "\"\\u00e4\"",
        "\"\\ud83d\\ude00\"",
        "\"\\ud800\"",
        "\"ä😀\"",
        " ",
        "\n",
        "\t",
        "true",
        "false",
        "null",
        "0",
        "-",
        "-0",
        "1",
        "01",
        "10",
        "-7",
        ".5",
        "1.0",
        "1e5",
        "1E+2",
        "1e-3",
        "0.1",
        "1.",
        "e",
        "9223372036854775807",
        "9223372036854775808",
        "-9223372036854775808",
        "18446744073709551615",
        "{}",
        "[]",
        "\\",
        "\u{1}",
        "\u{7f}",
    ];
    prop::collection::vec(prop::sample::select(words.to_vec()), 0..12)
        .prop_map(|words| words.concat())
}

proptest! {
    #[test]
    fn values_come_as_serde_json_reads_them(value in elements::json()) {
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            same(text.as_bytes());
        }
    }

    #[test]
    fn what_is_nearly_json_is_taken_or_refused_alike(text in near_json()) {
        same(text.as_bytes());
        // As one value within others, where more of it is well-formed.
        same(format!("[{text}]").as_bytes());
        same(format!("{{\"k\":{text}}}").as_bytes());
    }

    #[test]
    fn any_bytes_are_taken_or_refused_alike(bytes in prop::collection::vec(any::<u8>(), 0..24)) {
        same(&bytes);
        let quoted = [b"\"", bytes.as_slice(), b"\""].concat();
        same(&quoted);
    }

    #[test]
    fn canonical_text_is_kept_and_a_change_drops_it(value in elements::json()) {
        let canonical = ours(&serde_json::json!({"a": value, "z": {"x": 1}})).to_text();
        let decoded = decode_own(canonical.as_bytes()).unwrap();
        let mut map = decoded.as_map().unwrap().clone();
        prop_assert!(map.text().is_some());
        holds_its_text(&Value::Map(map.clone()));
        let mut other = map.clone();
        prop_assert_eq!(other.remove("nothing"), None);
        prop_assert!(other.to_text() == canonical);
        prop_assert!(other.remove("a").is_some());
        prop_assert_eq!(other.to_text(), r#"{"z":{"x":1}}"#);
        let mut other = map.clone();
        prop_assert!(other.take("a").is_some());
        prop_assert_eq!(other.to_text(), r#"{"a":null,"z":{"x":1}}"#);
        map.insert("z", Value::Int(2));
        prop_assert!(map.text().is_none());
        let changed = map.to_text();
        prop_assert!(changed.ends_with(r#","z":2}"#), "{}", changed);
        let text = format!("{canonical} trailing");
        let (first, used) = decode_first(text.as_bytes()).unwrap();
        prop_assert_eq!(first.to_text(), canonical.as_str());
        prop_assert_eq!(used, canonical.len());
    }
}

/// A byte that is looked for in words of eight, at every place of them, between texts of one and of
/// two bytes a letter.
#[test]
fn special_bytes_are_found_at_every_place() {
    for special in (0..0x20_u8).chain([b'"', b'\\', 0x7f]) {
        for (before, after) in [("x", "x"), ("ä", "x"), ("x", "ä"), ("ä", "ä")] {
            for place in 0..20 {
                let (before, after) = (before.repeat(place), after.repeat(20 - place));
                let text = format!("{before}{}{after}", char::from(special));
                let written = Value::text(text.as_str()).to_text();
                assert_eq!(written, serde_json::to_string(&text).unwrap());
                same(written.as_bytes());
                same(format!("\"{text}\"").as_bytes());
            }
        }
    }
}

/// Own text that was cut or damaged is refused, by whatever way it is read.
#[test]
fn damaged_text_of_ours_is_refused() {
    let text = r#"{"a":[1,-2.5,"ä\n"],"b":{"c":true,"d":null}}"#.as_bytes();
    for cut in 0..text.len() {
        let cut = text.get(..cut).unwrap();
        assert!(decode(cut).is_err() && decode_own(cut).is_err() && decode_first(cut).is_err());
    }
    for place in 0..text.len() {
        let mut text = text.to_vec();
        text[place] = 0xff;
        assert!(
            decode(&text).is_err() && decode_own(&text).is_err() && decode_first(&text).is_err()
        );
    }
}

#[test]
fn what_serde_json_is_silent_about_is_refused() {
    let deep = |levels| [vec![b'['; levels], vec![b']'; levels]].concat();
    assert!(decode(&deep(DEPTH_MAX)).is_ok());
    for (text, why) in [
        (
            deep(DEPTH_MAX + 1),
            "nested deeper than 64 levels at offset 64",
        ),
        (br#"{"a":1,"b":{"a":1,"a":2}}"#.to_vec(), "repeated key `a`"),
        (b"18446744073709551616".to_vec(), "does not fit in 64 bits"),
        (
            b"[-9223372036854775809]".to_vec(),
            "The integer at offset 1",
        ),
        (b"1e999".to_vec(), "beyond what a float holds"),
        (b"\"\xff\"".to_vec(), "not UTF-8: bad byte at offset 1"),
    ] {
        let refusal = decode(&text).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}

#[test]
fn a_refusal_says_where_and_what_was_expected() {
    for (text, why) in [
        ("", "expected a value at line 1, column 1, but it ends"),
        (
            "{\n \"a\": tru}",
            "expected a value at line 2, column 7, but `t` came",
        ),
        (
            "{'a': 1}",
            "expected a key in quotes at line 1, column 2, but `'` came",
        ),
        (
            "[1 2]",
            "expected `,` or `]` at line 1, column 4, but `2` came",
        ),
        ("{\"a\" 1}", "expected `:` at line 1, column 6"),
        ("[1,]", "expected a value at line 1, column 4, but `]` came"),
        (
            "[01]",
            "expected no digit behind a leading 0 at line 1, column 3",
        ),
        (
            "{} x",
            "expected nothing behind the value at line 1, column 4, but `x` came",
        ),
        (
            "\"a\nb\"",
            "expected a control character as an escape at line 1, column 3, but byte 0x0a came",
        ),
        (
            "\"\\x\"",
            "expected an escape such as `\\n` at line 1, column 3",
        ),
        (
            "\"\\ud800 \"",
            "expected the second half of a surrogate pair",
        ),
        (
            "\"abc",
            "expected the end of a string at line 1, column 5, but it ends",
        ),
    ] {
        let refusal = decode(text.as_bytes()).unwrap_err();
        assert!(refusal.contains(why), "{refusal}");
    }
}
