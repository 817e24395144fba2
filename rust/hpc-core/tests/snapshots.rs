//! Snapshots as bytes: a flipped bit is found and named, hostile bytes do no harm, and what is left
//! out of them is what nobody can miss. That they hold the whole state is the protocol's test.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panic")]

#[path = "well_formed/desk.rs"]
#[expect(dead_code, reason = "another test needs the rest of it")]
mod desk;

use desk::{Desk, WALL, generator};
use hpc_core::domain::entry::{LogRow, verify};
use hpc_core::logic::hub::{Config, Hub, Now};
use hpc_core::logic::sections::{self, Damage, Writer};
use hpc_core::logic::snapshot::check;
use proptest::prelude::*;
use serde_json::{Value, json};

const DAY_MS: i64 = 86_400_000;

fn new_hub() -> Hub {
    Hub::new(Config {
        hub_id: "hub".to_owned(),
        lease_ms: 30_000,
        reclaim_ms: 300_000,
    })
}

fn restored(bytes: &[u8]) -> Hub {
    let mut hub = new_hub();
    hub.restore(bytes).unwrap();
    hub
}

fn rule(on: &str, join: Value) -> Value {
    json!({"on": on, "table": "t", "key": "$ctx.node_id", "join": join})
}

/// A Hub with something in every section: every lattice, jobs in every state, several origins.
fn full() -> Desk {
    let mut desk = Desk::new();
    desk.register(
        "ns",
        json!({"retention": 86_400, "resources": {"cpus": 1, "gpus": "$spec.i"}, "schema": {
            "Said": [{"key": "s", "expected_type": "String"}, {"key": "i", "expected_type": "Int"},
                     {"key": "b", "expected_type": "Bool"},
                     {"key": "p", "expected_type": "String", "one_of": ["run", "ok", "bad"]}],
            "SubmitJob": [{"key": "i", "expected_type": "Int", "min": 0}],
        }}),
    );
    let diagram = json!({"run": ["ok", "bad"], "ok": ["both"], "bad": ["both"]});
    let joins = json!({
        "max": {"max": "$spec.i"}, "min": {"min": "$spec.i"}, "or": {"or": "$spec.b"},
        "once": {"once": "$spec.s"}, "last": {"last": "$spec.s"}, "set": {"set": "$spec.i"},
        "count": {"count": 1}, "sum": {"sum": "$spec.i"},
        "epoch": {"epoch": {"at": "$spec.i", "join": {"set": "$spec.s"}}},
        "map": {"map": {"key": "$spec.s", "join": {"sum": "$spec.i"}}},
        "finite": {"finite": {"order": diagram, "value": "$spec.p"}},
    });
    for gid in ["all", "few"] {
        let spec = json!({"namespaces": ["ns"], "rules": [rule("Said", joins.clone())]});
        let answer = desk.control(&generator(gid, spec));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    for (n, node) in ["a", "b", "a", "c2", "b"].into_iter().enumerate() {
        let spec = json!({"s": format!("s{n}"), "i": n, "b": n > 2, "p": "run"});
        desk.offer("Said", json!({"node_id": node}), spec);
    }
    for (job, tasks) in [("j", "0-99,105"), ("k", "0"), ("l", "0-1")] {
        let ctx = json!({"job_id": job, "tasks": tasks, "name": "label", "priority": 3});
        desk.offer("SubmitJob", ctx, json!({"i": 1}));
    }
    let claim = json!({
        "node_id": "n", "host": "h", "place": "p", "session": "s", "epoch": 1, "n": 1,
        "ns": ["ns"], "resources": {"cpus": 4, "gpus": 4}, "max": 64, "wait": 0, "holds": [],
    });
    let answer = desk.send("claim", "", claim.to_string().as_bytes());
    assert_eq!(answer.status, 200, "{}", answer.body);
    let ctx = json!({"job_id": "j", "tasks": "0-1", "attempt": 1, "node_id": "n", "epoch": 1});
    desk.offer("JobStarted", ctx.clone(), json!({"started_at": WALL}));
    let figures = json!({"exit_code": [0, 3], "started_at": WALL, "finished_at": WALL + 7,
                         "cpu_seconds": 0.25, "peak_memory_bytes": 5, "detail": "why"});
    desk.offer("JobFinished", ctx, figures);
    desk.offer(
        "CancelJob",
        json!({"job_id": "k"}),
        json!({"reason": "enough"}),
    );
    desk.offer("SubmitJob", json!({"job_id": "f"}), json!({"i": 1}));
    for kind in ["CancelJob", "ForgetJob"] {
        let answer = desk.offer(kind, json!({"job_id": "f"}), json!({}));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    for n in 1..=3 {
        let event = json!({"kind": "Said", "payload": {"ctx": {"ns_id": "ns"}, "spec": {}}});
        let batch = json!({"id": format!("abcdefghijklmnopqrstuvwxyz/{n}"), "events": [event]});
        let answer = desk.send("ingest", "", batch.to_string().as_bytes());
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    desk
}

/// Everything that can be read, as the Hub tells it.
fn reads(hub: &mut Hub, now: Now) -> Vec<Vec<u8>> {
    let asked = [
        ("jobs", "".to_owned()),
        ("nodes", "".to_owned()),
        ("namespaces", "".to_owned()),
        ("conflicts", "".to_owned()),
        ("conflicts", "gid=few&limit=1".to_owned()),
    ];
    let pulls = ["all", "few", "kernel"].into_iter().flat_map(|gid| {
        let cursors = 0..=hub.last_seq() + 1;
        cursors.flat_map(move |cursor| {
            [1, 1000].map(|limit| ("pull", format!("gid={gid}&cursor={cursor}&limit={limit}")))
        })
    });
    let all: Vec<(&str, String)> = asked.into_iter().chain(pulls).collect();
    all.iter()
        .map(|(verb, query)| {
            let input = hpc_core::logic::hub::Input {
                token: 1,
                verb,
                query,
                body: b"",
                who: "",
            };
            hub.step(&[input], now, &[]).unwrap().replies.remove(0).body
        })
        .collect()
}

/// E3, E4, E7: a reader keeps its cursor over a restart from a snapshot.
#[test]
fn a_restored_hub_answers_every_read_as_before() {
    let mut desk = full();
    let bytes = desk.hub.snapshot();
    let mut hub = restored(&bytes);
    assert_eq!(hub.snapshot(), bytes);
    hub.start(desk.now);
    let told = reads(&mut desk.hub, desk.now);
    assert_eq!(reads(&mut hub, desk.now), told);
    let said = |text: &str| {
        told.iter()
            .any(|body| body.windows(text.len()).any(|w| w == text.as_bytes()))
    };
    assert!(
        said(r#""column":"once""#),
        "there is a conflict to be listed"
    );
}

#[test]
fn every_section_holds_something_and_a_flipped_bit_in_each_is_named() {
    let bytes = full().hub.snapshot();
    let found = sections::open(&bytes).unwrap();
    let names: Vec<&str> = found.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(
        names,
        [
            "head",
            "namespaces",
            "resources",
            "nodes",
            "jobs",
            "origins",
            "receipts",
            "kernel",
            "generators",
            "facts/all",
            "facts/few",
        ]
    );
    for (name, range) in found {
        assert!(range.len() > 1, "`{name}` is empty");
        for place in [range.start, range.start + range.len() / 2, range.end - 1] {
            let mut flipped = bytes.clone();
            flipped[place] ^= 1 << (place % 8);
            let damage = check(&flipped).unwrap_err();
            assert_eq!(damage, Damage::new(&name, "its checksum does not match"));
            let fault = new_hub().restore(&flipped).unwrap_err().0;
            assert!(fault.contains(&format!("section `{name}`")), "{fault}");
        }
    }
}

#[test]
fn a_hub_that_could_not_restore_is_as_before() {
    let mut desk = full();
    let mut bytes = desk.hub.snapshot();
    let at = bytes.len() / 2;
    bytes[at] ^= 4;
    let mut hub = new_hub();
    hub.restore(&bytes).unwrap_err();
    let controls: Vec<LogRow> = desk
        .log
        .iter()
        .filter(|r| r.flags & 1 == 1)
        .cloned()
        .collect();
    hub.preload(&controls).unwrap();
    hub.replay(&desk.log).unwrap();
    assert_eq!(hub.snapshot(), desk.hub.snapshot());
}

#[test]
fn a_snapshot_of_another_hub_is_refused() {
    let bytes = full().hub.snapshot();
    let mut other = Hub::new(Config {
        hub_id: "other".to_owned(),
        lease_ms: 1,
        reclaim_ms: 1,
    });
    let fault = other.restore(&bytes).unwrap_err().0;
    assert_eq!(fault, "Snapshot: it is of Hub `hub`, this is Hub `other`");
}

/// Bytes with one section replaced, and all checksums as they must be.
fn resealed(bytes: &[u8], name: &str, body: &[u8]) -> Vec<u8> {
    let mut writer = Writer::with_capacity(bytes.len());
    for (section, range) in sections::open(bytes).unwrap() {
        let now = if section == name { body } else { &bytes[range] };
        writer.section(&section, |out| out.extend_from_slice(now));
    }
    writer.finish()
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 600,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    /// Nowhere in a snapshot is a bit that nobody looks at.
    #[test]
    fn any_flipped_bit_is_found(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let mut bytes = SNAPSHOT.with(Clone::clone);
        let place = place.index(bytes.len());
        bytes[place] ^= 1 << bit;
        prop_assert!(check(&bytes).is_err());
    }

    #[test]
    fn any_cut_is_found(end in any::<prop::sample::Index>()) {
        let bytes = SNAPSHOT.with(Clone::clone);
        prop_assert!(check(&bytes[..end.index(bytes.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(check(&bytes).is_err());
    }

    /// A checksum is no signature: what was made to match is read with the same care.
    #[test]
    fn hostile_sections_do_no_harm(
        section in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let bytes = SNAPSHOT.with(Clone::clone);
        let found = sections::open(&bytes).unwrap();
        let (name, range) = section.get(&found);
        let mut body = bytes[range.clone()].to_vec();
        for (place, value) in edits {
            let place = place.index(body.len());
            body[place] = value;
        }
        if let Some(cut) = cut {
            body.truncate(cut.index(body.len()));
        }
        let mut hub = new_hub();
        if hub.restore(&resealed(&bytes, name, &body)).is_ok() {
            let now = Now { wall: WALL, mono: 0 };
            hub.start(now);
            drop(hub.step(&[], now, &[]));
            drop(hub.snapshot());
        }
    }
}

thread_local! {
    static SNAPSHOT: Vec<u8> = full().hub.snapshot();
}

#[test]
fn receipts_are_forgotten_after_their_time_and_numbers_never() {
    let mut desk = full();
    let said = |id: &str, at: i64| {
        let event =
            json!({"kind": "Said", "at": at, "payload": {"ctx": {"ns_id": "ns"}, "spec": {}}});
        json!({"id": id, "events": [event]})
            .to_string()
            .into_bytes()
    };
    let uuid = "018f3a4e-0000-7000-8000-000000000001";
    let first = desk.send("ingest", "", &said(uuid, WALL));
    assert_eq!(first.status, 200, "{}", first.body);
    desk.now.wall += 29 * DAY_MS;
    desk.send(
        "ingest",
        "",
        &said("018f3a4e-0000-7000-8000-000000000002", desk.now.wall),
    );
    desk.hub.snapshot();
    assert_eq!(
        desk.send("ingest", "", &said(uuid, WALL)).body["first_seq"],
        first.body["first_seq"]
    );
    desk.now.wall += 2 * DAY_MS;
    desk.send(
        "ingest",
        "",
        &said("018f3a4e-0000-7000-8000-000000000003", desk.now.wall),
    );
    let bytes = desk.hub.snapshot();
    for hub in [desk.hub.clone(), restored(&bytes)] {
        let mut desk = Desk {
            hub,
            log: desk.log.clone(),
            now: desk.now,
        };
        // The number has passed: a duplicate of which no more is known.
        let number = "abcdefghijklmnopqrstuvwxyz/1";
        let answer = desk.send("ingest", "", &said(number, WALL));
        assert_eq!(answer.body, json!({"id": number, "duplicate": true}));
        // The log holds the UUID; whoever appends finds it there, and tells the Hub.
        let row = desk
            .log
            .iter()
            .find(|row| row.batch_id == uuid)
            .unwrap()
            .clone();
        desk.hub.recall(&row).unwrap();
        let answer = desk.send("ingest", "", &said(uuid, WALL));
        assert_eq!(answer.body["duplicate"], true);
        assert_eq!(answer.body["first_seq"], first.body["first_seq"]);
        assert_eq!(
            desk.send("ingest", "", &said(uuid, 1)).code(),
            (409, "id_conflict")
        );
        let mut bare = row;
        bare.body.clear();
        desk.hub.recall(&bare).unwrap();
        assert_eq!(
            desk.send("ingest", "", &said(uuid, WALL)).body["duplicate"],
            true
        );
    }
}

/// The log without the bodies of some batches.
fn compacted(log: &[LogRow], dropped: &[u64]) -> Vec<LogRow> {
    let mut log = log.to_vec();
    for row in log
        .iter_mut()
        .filter(|row| dropped.contains(&row.first_seq))
    {
        row.body.clear();
    }
    log
}

/// What may be dropped a week later.
fn all_expired(desk: &Desk) -> Vec<u64> {
    let expired = desk.hub.expired(&desk.log, WALL + 7 * DAY_MS, 0).unwrap();
    expired.first_seqs
}

#[test]
fn only_what_is_past_its_retention_may_be_dropped() {
    let desk = full();
    let expired = |days: i64| {
        desk.hub
            .expired(&desk.log, WALL + days * DAY_MS, 0)
            .unwrap()
    };
    let now = expired(0);
    assert!(now.first_seqs.is_empty());
    let dropped = expired(2).first_seqs;
    assert_eq!(now.pending, Some(dropped[0]));
    let first_of_forgotten = about(&desk, "f")[0];
    assert_eq!(expired(2).pending, Some(first_of_forgotten));
    let kinds = |row: &LogRow| {
        let body: Value = serde_json::from_slice(&row.body).unwrap();
        let events = body["events"].as_array().unwrap().clone();
        events.into_iter().all(|event| event["kind"] == "Said")
    };
    let said: Vec<u64> = desk
        .log
        .iter()
        .filter(|r| kinds(r))
        .map(|r| r.first_seq)
        .collect();
    assert_eq!(dropped, said);
    assert_eq!(said.len(), 8);
    // What is gone is gone already.
    let rest = compacted(&desk.log, &dropped);
    assert!(
        desk.hub
            .expired(&rest, WALL + 9 * DAY_MS, 0)
            .unwrap()
            .first_seqs
            .is_empty()
    );
}

/// The first seqs of the batches that speak of a job.
fn about(desk: &Desk, job: &str) -> Vec<u64> {
    let rows = desk.log.iter();
    let rows = rows.filter(|row| row.job_ids.iter().any(|id| id == job));
    rows.map(|row| row.first_seq).collect()
}

/// Once every snapshot that is kept knows that a job is forgotten, only the event that says so need
/// be in the log.
#[test]
fn what_speaks_of_forgotten_jobs_alone_may_be_dropped() {
    let mut desk = full();
    let event = |kind: &str, job: &str| json!({"kind": kind, "payload": {"ctx": {"ns_id": "ns", "job_id": job}, "spec": {"reason": "x"}}});
    desk.ingest(&[event("CancelJob", "f"), event("CancelJob", "j")]);
    let [submit, cancel, forget, mixed] = about(&desk, "f")[..] else {
        panic!("{:?}", about(&desk, "f"));
    };
    assert!(cancel < forget && forget < mixed);
    let expired = |below| desk.hub.expired(&desk.log, WALL, below).unwrap();
    assert_eq!(expired(forget).first_seqs, [submit, cancel]);
    let early = expired(forget - 1);
    assert!(early.first_seqs.is_empty(), "a snapshot holds it whole");
    let said = desk.hub.expired(&desk.log, WALL - 9 * DAY_MS, forget - 1);
    assert!(
        said.unwrap().pending.unwrap() <= submit,
        "it is looked at again"
    );
    let bytes = desk.hub.snapshot();
    let rest = compacted(&desk.log, &[submit, cancel]);
    assert_eq!(verify(&rest, &[0; 32], 1).1, []);
    assert_eq!(restored(&bytes).snapshot(), bytes);
    assert!(desk.hub.has_retention() && desk.hub.forgotten() == 1);
}

/// A mixed batch is kept whole: half a body is none.
#[test]
fn a_batch_with_a_kernel_event_is_kept() {
    let mut desk = full();
    let ctx = json!({"ns_id": "ns", "node_id": "a"});
    desk.ingest(&[
        json!({"kind": "Said", "payload": {"ctx": ctx, "spec": {}}}),
        json!({"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "ns", "job_id": "mixed"}, "spec": {}}}),
    ]);
    let last = desk.log.last().unwrap().clone();
    assert!(
        desk.hub
            .expired(&[last], WALL + 9 * DAY_MS, 0)
            .unwrap()
            .first_seqs
            .is_empty()
    );
}

/// The chain holds over what is left, and a Hub goes on from a snapshot and not without one.
#[test]
fn a_compacted_log_is_verified_and_replayed_from_a_snapshot() {
    let mut desk = full();
    let bytes = desk.hub.snapshot();
    let dropped = all_expired(&desk);
    desk.offer("Said", json!({"node_id": "c"}), json!({"i": 5}));
    let log = compacted(&desk.log, &dropped);
    assert_eq!(verify(&log, &[0; 32], 1).1, []);

    let mut hub = restored(&bytes);
    let after = log.iter().filter(|row| row.first_seq > hub.last_seq());
    hub.replay(&after.cloned().collect::<Vec<_>>()).unwrap();
    assert_eq!(hub.snapshot(), desk.hub.snapshot());

    let mut hub = new_hub();
    let fault = hub.replay(&log).unwrap_err().0;
    assert!(fault.contains("no snapshot reaches behind it"), "{fault}");
}

#[test]
fn a_generator_registered_after_compaction_says_since_when_it_counts() {
    let mut desk = full();
    let dropped = all_expired(&desk);
    desk.offer("Said", json!({"node_id": "c"}), json!({"i": 5}));
    let (kept, newest) = (desk.log.clone(), dropped[dropped.len() - 1]);
    desk.log = compacted(&kept, &dropped);
    let rules = json!([rule("Said", json!({"n": {"count": 1}}))]);
    desk.control(&generator(
        "late",
        json!({"namespaces": ["ns"], "rules": rules}),
    ));
    let page = desk.send("pull", "gid=late", b"").body;
    assert_eq!(page["since"], newest + 1);
    assert_eq!(page["facts"], json!({"t": {"c": {"n": 1}}}));
    assert!(desk.send("pull", "gid=all", b"").body["since"].is_null());
    // It still says so after a restart.
    let bytes = desk.hub.snapshot();
    desk.hub = restored(&bytes);
    desk.hub.start(desk.now);
    assert_eq!(desk.send("pull", "gid=late", b"").body, page);
}

/// A snapshot while a generator is built keeps its registration; recovery builds it.
#[test]
fn what_was_being_built_is_built_anew() {
    let mut desk = full();
    let rules = json!([rule("Said", json!({"n": {"count": 1}}))]);
    let spec = json!({"namespaces": ["ns"], "rules": rules});
    for gid in ["late", "few"] {
        let mut body = generator(gid, spec.clone());
        if gid == "few" {
            body["replace"] = json!(1);
        }
        let body = body.to_string().into_bytes();
        let input = hpc_core::logic::hub::Input {
            token: 1,
            verb: "control",
            query: "",
            body: &body,
            who: "",
        };
        let turn = desk.hub.step(&[input], desk.now, &[]).unwrap();
        desk.log.extend(turn.rows);
    }
    assert!(desk.hub.is_building_any());
    let mut hub = restored(&desk.hub.clone().snapshot());
    while hub.build_from().is_some() {
        hub.catch_up(&desk.log).unwrap();
    }
    assert!(!hub.is_building_any());
    let controls: Vec<LogRow> = desk
        .log
        .iter()
        .filter(|r| r.flags & 1 == 1)
        .cloned()
        .collect();
    let mut whole = new_hub();
    whole.preload(&controls).unwrap();
    whole.replay(&desk.log).unwrap();
    assert_eq!(hub.snapshot(), whole.snapshot());
}

#[test]
fn each_damaged_batch_is_named_and_no_other() {
    let desk = full();
    let mut log = desk.log.clone();
    assert_eq!(verify(&log, &[0; 32], 1).1, []);
    let head = log.last().unwrap().chain;
    assert_eq!(verify(&log, &[0; 32], 1).0, head);
    for place in [2, 5] {
        let at = log[place].body.len() / 2;
        log[place].body[at] ^= 1;
    }
    log[8].digest[3] ^= 1;
    let named: Vec<u64> = verify(&log, &[0; 32], 1)
        .1
        .iter()
        .map(|d| d.first_seq)
        .collect();
    assert_eq!(
        named,
        [2, 5, 8].map(|place: usize| desk.log[place].first_seq)
    );
    log.remove(4);
    let found = verify(&log, &[0; 32], 1).1;
    assert!(found.iter().any(|d| d.why.contains("missing")), "{found:?}");
}
