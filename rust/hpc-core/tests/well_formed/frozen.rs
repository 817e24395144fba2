//! The canonical form is frozen: logs of former versions are read, and repeats of their batches known, by
//! these very bytes.

use hpc_core::domain::batch_text::BatchText;
use hpc_core::domain::entry::{LogRow, digest};
use hpc_core::domain::json::{Value, decode};
use hpc_core::domain::msgpack::decode_either;

/// Floats, escapes, zeros with a sign, a number above `i64::MAX`, keys out of order, a map in a map.
const COMPACT: &str = r#"[{"kind":"K","payload":{"ctx":{"ns_id":"n"},"spec":{"z":[0.1,1e300,-0.0,1.0],"a":"tab\t\u0001\"ä😀","big":18446744073709551615,"m":{"y":null,"x":true}}},"at":7},{"kind":"L"}]"#;

const CANONICAL: &str = r#"[{"at":7,"kind":"K","payload":{"ctx":{"ns_id":"n"},"spec":{"a":"tab\t\u0001\"ä😀","big":18446744073709551615,"m":{"x":true,"y":null},"z":[0.1,1e300,0.0,1.0]}}},{"kind":"L"}]"#;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn the_text_and_the_digest_of_a_batch_are_these() {
    let pretty: serde_json::Value = serde_json::from_str(COMPACT).unwrap();
    let pretty = serde_json::to_string_pretty(&pretty).unwrap();
    let packed = hpc_core::domain::msgpack::from_json(COMPACT.as_bytes()).unwrap();
    for sent in [
        COMPACT.as_bytes(),
        CANONICAL.as_bytes(),
        pretty.as_bytes(),
        &packed,
    ] {
        let events = decode_either(sent).unwrap();
        assert_eq!(events.to_text(), CANONICAL);
        let text = BatchText::write(events.as_list().unwrap());
        assert_eq!(text.digest(), digest(&events));
        assert_eq!(hex(&text.digest()), DIGEST);
    }
}

#[test]
fn the_chain_value_of_a_row_is_this() {
    let row = LogRow {
        first_seq: 3,
        count: 2,
        batch_id: "b-1".to_owned(),
        digest: digest(&decode(COMPACT.as_bytes()).unwrap_or(Value::Null)),
        chain: [0; 32],
        flags: 0,
        body: CANONICAL.as_bytes().to_vec(),
        job_ids: vec!["not part of it".to_owned()],
    };
    assert_eq!(hex(&row.chain_after(&[9; 32])), CHAIN);
}

const DIGEST: &str = "08a2a452ce5df557627524508e9cef2c53cf1ea793671e4f6bf06306b0a50518";
const CHAIN: &str = "9669f424aea2e46cf5274755953a7398738e39337b85ddf3d2db78a9bd1d6675";
