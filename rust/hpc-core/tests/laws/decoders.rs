//! L7 for what comes over the wire and from the disk: decoders are fuzzed with noise, and with good
//! bytes that are cut or altered. None panics, and what is taken has one canonical text.

use hpc_core::domain::entry::{BODY_OPEN, Body, StoredEvent, close_body, digest};
use hpc_core::domain::json::{self, Value};
use hpc_core::domain::msgpack;
use hpc_core::lattice::tasks::TaskSet;
use proptest::prelude::*;

use super::{config, elements};

/// What JSON and MessagePack are made of, so that noise gets past the first byte.
fn noise() -> BoxedStrategy<Vec<u8>> {
    let piece = prop_oneof![
        4 => prop::sample::select(vec![
            "{", "}", "[", "]", ",", ":", "\"", "\\u", "\\ud800", "null", "-", "0", "1e400", "1.5",
            "18446744073709551616", "\"a\":", "{\"events\":[", "\"at\"", " ",
        ]).prop_map(|text| text.as_bytes().to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 1..6),
        2 => prop::sample::select(vec![
            0x80u8, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xc1, 0xc2, 0xc4, 0xca, 0xcb, 0xcf,
            0xd3, 0xd9, 0xdb, 0xdc, 0xdd, 0xde, 0xdf, 0xe0, 0xff,
        ]).prop_map(|byte| vec![byte]),
    ];
    proptest::collection::vec(piece, 0..24)
        .prop_map(|pieces| pieces.concat())
        .boxed()
}

/// Good bytes, cut at one place or altered there.
fn damaged(mut bytes: Vec<u8>, place: usize, byte: Option<u8>) -> Vec<u8> {
    let place = place % bytes.len().max(1);
    match (byte, bytes.get_mut(place)) {
        (Some(byte), Some(there)) => *there = byte,
        _ => bytes.truncate(place),
    }
    bytes
}

/// What is taken says one thing: its canonical text is taken too, is the same value, and is its own.
fn assert_one_text(value: &Value<'_>) {
    let text = value.to_text();
    let again = json::decode(text.as_bytes()).unwrap();
    assert_eq!(again, *value);
    assert_eq!(again.to_text(), text);
    assert_eq!(digest(&again), digest(value));
}

fn decode_all(bytes: &[u8]) {
    if let Ok(value) = json::decode(bytes) {
        assert_one_text(&value);
    }
    if let Ok(value) = msgpack::decode(bytes) {
        assert_one_text(&value);
    }
    if let Ok((_, used)) = json::decode_first(bytes) {
        assert!(used <= bytes.len());
    }
    if let Ok(body) = Body::decode(bytes) {
        assert!(body.events().count() <= body.len());
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn noise_is_refused_or_has_one_text(bytes in noise()) {
        decode_all(&bytes);
        for byte in [0x80, b'{'] {
            decode_all(&[&[byte], bytes.as_slice()].concat());
        }
    }

    #[test]
    fn a_value_comes_back_in_both_forms(value in elements::json()) {
        let text = serde_json::to_string_pretty(&value).unwrap();
        let decoded = json::decode(text.as_bytes()).unwrap();
        assert_one_text(&decoded);
        let packed = msgpack::from_json(text.as_bytes()).unwrap();
        prop_assert_eq!(msgpack::decode(&packed), Ok(decoded));
    }

    #[test]
    fn damaged_bytes_are_refused_or_have_one_text(
        value in elements::json(), place in any::<usize>(), byte in any::<Option<u8>>()
    ) {
        let text = serde_json::to_vec(&value).unwrap();
        let packed = msgpack::from_json(&text).unwrap();
        decode_all(&damaged(text, place, byte));
        decode_all(&damaged(packed, place, byte));
    }

    #[test]
    fn a_damaged_body_of_the_log_never_panics(
        place in any::<usize>(), byte in any::<Option<u8>>(), at in any::<i64>(), n in any::<i64>()
    ) {
        let event = format!(
            r#"{{"at":{at},"kind":"Said","payload":{{"ctx":{{"ns_id":"lab"}},"spec":{{"i":{n}}}}}}}"#
        );
        let mut body = BODY_OPEN.to_vec();
        let value = json::decode(event.as_bytes()).unwrap();
        StoredEvent::read(&value).unwrap().write(&mut body);
        close_body(&mut body, &["g".to_owned()], "");
        let decoded = Body::decode(&body).unwrap();
        prop_assert_eq!(decoded.events().count(), 1);
        prop_assert_eq!(&decoded.pokes, &["g".to_owned()]);
        decode_all(&damaged(body, place, byte));
    }

    #[test]
    fn ranges_are_refused_or_have_one_text(text in "[0-9,x -]{0,12}") {
        if let Ok(tasks) = TaskSet::parse(&text) {
            prop_assert_eq!(TaskSet::parse(&tasks.to_string()), Ok(tasks));
        }
    }
}
