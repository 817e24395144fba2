//! What comes over the relay's socket, from the disk and from the kernel: whatever it is, it is taken
//! or left, and nothing panics. `make fuzz` sets `PROPTEST_CASES`.
#![allow(clippy::unwrap_used)] // a test may stop at once

use std::fs;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use hpc_executor::cgroup;
use hpc_executor::environment::Environments;
use hpc_executor::outbox::Outbox;
use hpc_executor::reap::parse_pids;
use hpc_executor::record::{
    Cause, Outcome, Payload, Reason, Record, Span, read_payload, write_output, write_record,
};
use hpc_executor::report;
use hpc_executor::wire::{Channel, Order};
use hpc_executor::work::{Lease, Lot, Site, Work};
use proptest::prelude::*;

struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static MADE: AtomicU32 = AtomicU32::new(0);
        let n = MADE.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("hpc-decoders-{}-{n}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn config() -> ProptestConfig {
    ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    }
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

fn number() -> impl Strategy<Value = u64> {
    prop_oneof![3 => 0..4_u64, 1 => Just(u64::MAX), 1 => any::<u64>()]
}

fn span() -> impl Strategy<Value = Span> {
    let task = || prop_oneof![3 => 0..5_u32, 1 => any::<u32>(), 1 => Just(u32::MAX)];
    (task(), task()).prop_map(|(first, last)| Span(first, last))
}

fn outcome() -> impl Strategy<Value = Outcome> {
    let cause = prop::sample::select(vec![Cause::Exit, Cause::Oom, Cause::TimeLimit]);
    (
        any::<Option<i32>>(),
        any::<Option<i32>>(),
        prop::option::of(cause),
        any::<Option<u64>>(),
        any::<u64>(),
        any::<Option<u64>>(),
        any::<Option<String>>(),
    )
        .prop_map(
            |(exit_code, signal, cause, started_at, finished_at, cpu_us, detail)| Outcome {
                exit_code,
                signal,
                cause,
                started_at,
                finished_at,
                peak_memory_bytes: cpu_us,
                cpu_us,
                detail,
            },
        )
}

fn record() -> impl Strategy<Value = Record> {
    let lease = (any::<String>(), number())
        .prop_map(|(job_id, attempt)| {
            Arc::new(Lease {
                ns_id: "batch".to_owned(),
                job_id,
                attempt,
                epoch: 1,
            })
        })
        .boxed();
    let reason = prop::sample::select(vec![Reason::Fence, Reason::Drain, Reason::GivenBack]);
    let batch = (number(), prop_oneof![0..4_usize, any::<usize>()]);
    prop_oneof![
        4 => (lease.clone(), span(), any::<u64>())
            .prop_map(|(lease, tasks, at)| Record::Started { lease, tasks, at }),
        4 => (lease.clone(), span(), outcome())
            .prop_map(|(lease, tasks, outcome)| Record::Ended { lease, tasks, outcome }),
        2 => (lease, span(), reason, any::<u64>())
            .prop_map(|(lease, tasks, reason, at)| Record::Returned { lease, tasks, reason, at }),
        1 => (any::<String>(), any::<u64>()).prop_map(|(reason, at)| Record::Drained { reason, at }),
        3 => batch.prop_map(|(n, count)| Record::Batch { n, count }),
        2 => number().prop_map(|n| Record::Acked { n }),
        1 => any::<String>().prop_map(|to| Record::HandedOver { to }),
        1 => (number(), prop::collection::vec(0..4_usize, 0..3))
            .prop_map(|(n, events)| Record::Refused { n, events }),
        1 => number().prop_map(head),
    ]
}

fn head(acked: u64) -> Record {
    Record::Head {
        session: "s".to_owned(),
        node_id: "n1".to_owned(),
        acked,
    }
}

/// What orders are made of, good and nearly so.
fn order_text() -> impl Strategy<Value = String> {
    let ops = vec![
        "offer",
        "hooks",
        "run",
        "refuse",
        "cancel",
        "give_back",
        "fence",
        "lost",
        "drain",
        "tail",
        "acked",
        "refused",
        "adopt",
        "holds",
        "running",
        "idle",
        "taken",
        "stop",
        "none",
    ];
    let field = prop::sample::select(vec![
        r#""id":1"#,
        r#""id":-1"#,
        r#""tasks":"0-4294967295""#,
        r#""tasks":"9-1,x""#,
        r#""attempt":18446744073709551615"#,
        r#""job_id":"a""#,
        r#""reason":"""#,
        r#""grace_s":1e999"#,
        r#""grace_s":-1"#,
        r#""boottime_ms":0"#,
        r#""origin":"s","n":2"#,
        r#""events":[7]"#,
        r#""streams":[{"job_id":"a","task":0,"stream":"stdout"}]"#,
        r#""stock":{"cpus":{"count":-1}}"#,
        r#""works":[{}]"#,
        r#""origins":["../s"]"#,
    ]);
    (
        prop::sample::select(ops),
        prop::collection::vec(field, 0..4),
    )
        .prop_map(|(op, fields)| {
            let fields = match fields.as_slice() {
                [] => "null".to_owned(),
                fields => format!("{{{}}}", fields.join(",")),
            };
            format!("{{\"{op}\":{fields}}}")
        })
}

fn framed(message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_le_bytes();
    [&length, message].concat()
}

/// What a channel makes of bytes that come in two pieces.
fn received(bytes: &[u8], cut: usize) -> Option<usize> {
    let (mut relay, supervisor) = UnixStream::pair().unwrap();
    let mut channel = Channel::new(supervisor).unwrap();
    let (first, second) = bytes.split_at(cut % (bytes.len() + 1));
    let mut orders = 0;
    for piece in [first, second]
        .into_iter()
        .filter(|piece| !piece.is_empty())
    {
        relay.write_all(piece).unwrap();
        orders += channel.receive()?.len();
    }
    Some(orders)
}

fn work_text() -> impl Strategy<Value = String> {
    let field = prop::sample::select(vec![
        r#""argv":["sh","-c","exit 0"]"#,
        r#""argv":["\u0000"]"#,
        r#""argv":[]"#,
        r#""args":{"0":["x"]}"#,
        r#""env":{"A=B":"\u0000","PATH":":"}"#,
        r#""cwd":"\u0000""#,
        r#""stdin":"/""#,
        r#""cpus":4294967295"#,
        r#""memory_mib":18446744073709551615"#,
        r#""resources":{"":0}"#,
        r#""time_limit_s":1e308"#,
        r#""warn_signal":-1"#,
        r#""umask":4294967295"#,
        r#""ulimits":{"nofile":null,"nonsense":1}"#,
        r#""grace_s":-1e308"#,
        r#""on_cut_off":"stop""#,
        r#""entries":{"0":[{}]}"#,
    ]);
    let tasks = prop_oneof![
        Just("0".to_owned()),
        Just("0-4294967295".to_owned()),
        "[0-9,x-]{0,8}"
    ];
    let kind = prop::sample::select(vec!["process", "none"]);
    (tasks, kind, prop::collection::btree_set(field, 0..5)).prop_map(|(tasks, kind, fields)| {
        let fields: String = fields.iter().map(|field| format!(",{field}")).collect();
        format!(
            "{{\"job_id\":\"a\",\"ns_id\":\"b\",\"attempt\":1,\"epoch\":1,\"tasks\":\"{tasks}\",\
             \"kind\":\"{kind}\"{fields}}}"
        )
    })
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn a_record_comes_back_and_a_damaged_one_does_not(
        record in record(), frames in any::<Vec<u8>>(), place in any::<usize>(), byte in any::<Option<u8>>()
    ) {
        let (mut told, mut output) = (Vec::new(), Vec::new());
        write_record(&mut told, &record);
        write_output(&mut output, &frames);
        prop_assert_eq!(read_payload(&told), Some((Payload::Record(record), told.len())));
        prop_assert_eq!(read_payload(&output), Some((Payload::Output(frames), output.len())));
        let altered = damaged(told.clone(), place, byte);
        if altered != told {
            prop_assert_eq!(read_payload(&altered), None);
        }
    }

    #[test]
    fn any_bytes_are_a_record_or_none(bytes in any::<Vec<u8>>()) {
        if let Some((_, length)) = read_payload(&bytes) {
            prop_assert!(length <= bytes.len());
        }
    }

    /// Sums that fit say nothing about who wrote it: records that cannot follow end the file there.
    #[test]
    fn any_records_are_an_outbox_that_goes_on(
        acked in number(), records in prop::collection::vec(record(), 0..8),
        place in any::<usize>(), byte in any::<Option<Option<u8>>>(),
    ) {
        let folder = Folder::new();
        let mut bytes = Vec::new();
        write_record(&mut bytes, &head(acked));
        for record in &records {
            write_record(&mut bytes, record);
        }
        if let Some(byte) = byte {
            bytes = damaged(bytes, place, byte);
        }
        let path = folder.0.join("s.log");
        fs::write(&path, &bytes).unwrap();
        let Some(mut outbox) = Outbox::load(&path).unwrap() else {
            prop_assert!(!path.exists());
            return Ok(());
        };
        outbox.make_batch().unwrap();
        let offered = outbox.take_offer();
        let again = Outbox::load(&path).unwrap().unwrap().take_offer();
        prop_assert_eq!(&again, &offered);
        if let Some((n, body)) = offered {
            prop_assert!(serde_json::from_slice::<serde_json::Value>(&body).is_ok());
            prop_assert!(outbox.acknowledge(n).unwrap().is_some());
        }
    }

    #[test]
    fn events_of_any_records_are_json(records in prop::collection::vec(record(), 0..8)) {
        for event in report::events(&records, "n1") {
            prop_assert!(serde_json::from_str::<serde_json::Value>(&event).is_ok());
        }
    }

    #[test]
    fn orders_come_whole_however_they_are_cut(
        texts in prop::collection::vec(order_text(), 0..5), cut in any::<usize>()
    ) {
        let bytes: Vec<u8> = texts.iter().flat_map(|text| framed(text.as_bytes())).collect();
        let good = texts.iter().filter(|text| serde_json::from_str::<Order>(text).is_ok());
        prop_assert_eq!(received(&bytes, cut), Some(good.count()));
    }

    #[test]
    fn any_bytes_of_a_relay_are_orders_or_its_end(bytes in any::<Vec<u8>>(), cut in any::<usize>()) {
        received(&bytes, cut);
        received(&framed(&bytes), cut);
    }

    #[test]
    fn any_work_is_prepared_or_refused_in_a_sentence(text in work_text()) {
        let Ok(work) = serde_json::from_str::<Work>(&text) else {
            return Ok(());
        };
        if let Err(sentence) = Lot::tasks(&work) {
            prop_assert!(!sentence.is_empty());
        }
        let site = Site { node_id: "n1".to_owned(), place: "p".to_owned(), has_gpus: false };
        if let Err(sentence) = Lot::new(work, &site, &mut Environments::default()) {
            prop_assert!(!sentence.is_empty());
        }
    }

    #[test]
    fn any_files_of_the_kernel_are_a_group_or_a_sentence(
        groups in "([0-9]{0,2}:(memory|cpu,memory|)?:/[a/.]{0,4}\n|[ -~]{0,9}\n?){0,4}",
        mounts in "([0-9]{1,2} 1 0:2 /[a/.]{0,3} /[a/.]{0,3} rw (- (cgroup|cgroup2|x) x rw,memory)?\n|[ -~]{0,9}\n?){0,4}",
    ) {
        let folder = Folder::new();
        fs::create_dir_all(folder.0.join("proc/self")).unwrap();
        fs::write(folder.0.join("proc/self/cgroup"), groups).unwrap();
        fs::write(folder.0.join("proc/self/mountinfo"), mounts).unwrap();
        if let Err(sentence) = cgroup::find(&folder.0, &[]) {
            prop_assert!(!sentence.is_empty());
        }
    }

    #[test]
    fn any_list_of_processes_is_numbers(text in "[0-9 \n\tx-]{0,40}") {
        prop_assert!(parse_pids(&text).len() <= text.split_ascii_whitespace().count());
    }
}
