//! What the engine costs by itself: CPU time of one core, and bytes that are allocated.

mod measure;
mod workload;

use hpc_core::domain::facts::Facts;
use hpc_core::domain::generator::GeneratorSpec;
use hpc_core::domain::json::{Value, decode};
use hpc_core::lattice::last::Stamp;
use hpc_core::logic::conflicts::Conflicts;
use hpc_core::logic::hub::{Config, Hub, Input, Now};
use hpc_core::logic::rules::{EventView, Rules};
use measure::{Counting, allocations, live_bytes, timed};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn main() {
    let which = std::env::args().nth(1).unwrap_or_default();
    let events: usize = std::env::args()
        .nth(2)
        .and_then(|n| n.parse().ok())
        .unwrap_or(1_000_000);
    match which.as_str() {
        "join" => join(events),
        "ingest" => ingest(events),
        _ => {}
    }
}

/// Decoded events into one generator.
fn join(events: usize) {
    let texts = workload::job_events(events / 3);
    let spec = decode(workload::GENERATOR.as_bytes()).expect("it is JSON");
    let spec = GeneratorSpec::parse(spec.as_map().expect("a map")).expect("a spec");
    let before = live_bytes();
    let mut facts = Facts::new();
    let rules = Rules::compile(&spec, &mut facts);
    let hub_id = "hub".into();
    let mut conflicts = Conflicts::default();
    let (mut ns, mut seq, mut calls) = (0, 0, 0);
    let chunk = std::env::args().nth(3).and_then(|n| n.parse().ok()).unwrap_or(1_000);
    for batch in texts.chunks(chunk) {
        let decoded: Vec<Value<'_>> = batch
            .iter()
            .map(|text| decode(text.as_bytes()).expect("JSON"))
            .collect();
        let views: Vec<EventView<'_>> = decoded
            .iter()
            .map(|event| {
                let event = event.as_map().expect("a map");
                let payload = event.get("payload").and_then(Value::as_map).expect("a map");
                seq += 1;
                EventView {
                    seq,
                    stamp: Stamp {
                        at: seq as i64,
                        counter: 0,
                    },
                    kind: event.str("kind").expect("a kind"),
                    ns_id: "work",
                    ctx: payload.get("ctx").and_then(Value::as_map).expect("a map"),
                    spec: payload.get("spec").and_then(Value::as_map).expect("a map"),
                }
            })
            .collect();
        let called = allocations();
        let ((), took) = timed(|| {
            for view in &views {
                rules
                    .apply(view, &hub_id, &mut facts, &mut conflicts)
                    .expect("one lattice a column");
            }
        });
        calls += allocations() - called;
        ns += took;
    }
    let bytes = live_bytes() - before;
    assert_eq!(facts.rows(), events / 3);
    println!(
        "join: {:.1} ns/event, {:.1} B/row, {:.2} allocations/event",
        ns as f64 / seq as f64,
        bytes as f64 / facts.rows() as f64,
        calls as f64 / seq as f64
    );
}

/// JSON bytes to joined facts.
fn ingest(events: usize) {
    let texts = workload::job_events(events / 3);
    let mut hub = Hub::new(Config {
        hub_id: "hub".to_owned(),
        lease_ms: 30_000,
        reclaim_ms: 300_000,
    });
    let now = Now {
        wall: 1_800_000_000_000,
        mono: 1,
    };
    hub.start(now);
    let mut ask = |verb: &str, body: &[u8]| {
        let input = Input {
            token: 1,
            verb,
            query: "",
            body,
        };
        let turn = hub.step(&[input], now, &[]).expect("no fault");
        assert_eq!(
            turn.replies[0].status,
            200,
            "{}",
            String::from_utf8_lossy(&turn.replies[0].body)
        );
        turn
    };
    ask("control", workload::NAMESPACE.as_bytes());
    ask(
        "control",
        format!(
            r#"{{"type":"RegisterGenerator","gid":"work","spec":{}}}"#,
            workload::GENERATOR
        )
        .as_bytes(),
    );
    let (mut ns, mut count, mut calls) = (0, 0, 0);
    for (i, batch) in texts.chunks(1000).enumerate() {
        let body = workload::body(i, batch);
        let called = allocations();
        let (_, took) = timed(|| ask("ingest", &body));
        calls += allocations() - called;
        ns += took;
        count += batch.len();
    }
    println!(
        "ingest: {:.0} ns/event, {:.0} events/s, {:.2} allocations/event",
        ns as f64 / count as f64,
        count as f64 * 1e9 / ns as f64,
        calls as f64 / count as f64
    );
}
