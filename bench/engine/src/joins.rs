//! Decoded events into facts: a generator's, and the kernel's with everything that it keeps of jobs.

use hpc_core::domain::event::{Ctx, KernelKind};
use hpc_core::domain::facts::Facts;
use hpc_core::domain::generator::GeneratorSpec;
use hpc_core::domain::json::{Map, Value, decode};
use hpc_core::lattice::last::Stamp;
use hpc_core::lattice::tasks::TaskSet;
use hpc_core::logic::attempts::Settles;
use hpc_core::logic::conflicts::Conflicts;
use hpc_core::logic::kernel::{Entry, KernelFacts};
use hpc_core::logic::rules::{EventView, Rules};
use hpc_core::logic::state::{LogEvent, State};

use crate::desk::Desk;
use crate::measure::{allocations, live_bytes, timed};
use crate::workload;

/// Events that are decoded at a time, outside of what is measured.
const DECODED: usize = 1_000;

/// What a run costs.
pub struct Cost {
    /// CPU time per event.
    pub ns: f64,
    /// Bytes per row, or per job.
    pub bytes: f64,
    /// Allocations per event.
    pub allocations: f64,
    /// CPU time per event of the same log again, where that was measured: nothing grows.
    pub again: f64,
}

struct Decoded<'v> {
    kind: &'v str,
    ctx: &'v Map<'v>,
    spec: &'v Map<'v>,
    settles: Settles,
}

impl<'v> Decoded<'v> {
    fn view(&self, seq: u64) -> EventView<'v> {
        EventView {
            seq,
            stamp: Stamp { at: seq.cast_signed(), counter: 0 },
            kind: self.kind,
            ns_id: "work",
            ctx: self.ctx,
            spec: self.spec,
        }
    }
}

/// Gives decoded events to a function, which alone is measured.
fn run(texts: &[String], mut each: impl FnMut(u64, &Decoded<'_>)) -> (u64, u64) {
    let (mut ns, mut calls, mut seq) = (0, 0, 0);
    for batch in texts.chunks(DECODED) {
        let values: Vec<Value<'_>> = batch.iter().map(|t| decode(t.as_bytes()).expect("JSON")).collect();
        let map = |value: Option<&'_ Value<'_>>| value.and_then(Value::as_map).is_some();
        let events: Vec<Decoded<'_>> = values
            .iter()
            .map(|value| {
                let event = value.as_map().expect("a map");
                let payload = event.get("payload").and_then(Value::as_map).expect("a map");
                assert!(map(payload.get("ctx")) && map(payload.get("spec")));
                let settles = event.get("settles").and_then(Value::as_map);
                Decoded {
                    kind: event.str("kind").expect("a kind"),
                    ctx: payload.get("ctx").and_then(Value::as_map).expect("a map"),
                    spec: payload.get("spec").and_then(Value::as_map).expect("a map"),
                    settles: settles.map(Settles::from_map).unwrap_or_default(),
                }
            })
            .collect();
        let called = allocations();
        let ((), took) = timed(|| {
            for event in &events {
                seq += 1;
                each(seq, event);
            }
        });
        calls += allocations() - called;
        ns += took;
    }
    (ns, calls)
}

/// Three events for each job, one generator of four columns; then the same events again.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn generator(texts: &[String]) -> Cost {
    let spec = decode(workload::SPEC.as_bytes()).expect("it is JSON");
    let spec = GeneratorSpec::parse(spec.as_map().expect("a map")).expect("a spec");
    let before = live_bytes();
    let mut facts = Facts::new();
    let mut conflicts = Conflicts::default();
    let rules = Rules::compile(&spec, &mut facts);
    let hub_id = "hub".into();
    let (ns, calls) = run(texts, |seq, event| {
        let view = event.view(seq);
        rules.apply(&view, &hub_id, &mut facts, &mut conflicts).expect("one lattice a column");
    });
    let bytes = live_bytes() - before;
    let jobs = texts.len() / 3;
    let mut has_grown = false;
    let (again, _) = run(texts, |seq, event| {
        let seq = seq + texts.len() as u64;
        let view = event.view(seq);
        has_grown |= rules.apply(&view, &hub_id, &mut facts, &mut conflicts).expect("one lattice a column");
    });
    assert!(!has_grown, "every event was there");
    assert_eq!(facts.rows(), jobs);
    let (phase, _) = facts.find("jobs", &format!("job-{:013}", jobs - 1), "phase").expect("it is there");
    assert_eq!(phase.to_json(), "3");
    Cost { again: again as f64 / texts.len() as f64, ..cost(ns, calls, bytes, texts.len(), jobs) }
}

/// Four events for each job of one task: the kernel's facts alone.
pub fn kernel_facts(texts: &[String]) -> Cost {
    let before = live_bytes();
    let mut kernel = KernelFacts::default();
    let one = TaskSet::one(0);
    let (ns, calls) = run(texts, |seq, event| {
        let entry = Entry {
            seq,
            stamp: Stamp { at: seq.cast_signed(), counter: 0 },
            kind: KernelKind::from_wire(event.kind).expect("the kernel's"),
            ctx: Ctx::new(event.ctx),
            spec: event.spec,
            settles: &event.settles,
        };
        kernel.apply(&entry, &one, event.kind == "JobFinished").expect("one lattice a column");
    });
    let bytes = live_bytes() - before;
    let jobs = texts.len() / 4;
    assert_eq!(kernel.phase(&format!("job-{:013}", jobs - 1)), 3);
    cost(ns, calls, bytes, texts.len(), jobs)
}

/// Four events for each job of one task: facts, live jobs, queue, nodes; and how many bytes are left of
/// each once all are forgotten.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn kernel(texts: &[String]) -> (Cost, f64) {
    let batch = r#"{"type":"RegisterNamespace","ns_id":"batch","spec":{"handler_type":"process","resources":{"cpus":"$spec.cpu","memory_mib":"$spec.memory"},"schema":{"SubmitJob":[{"key":"command","expected_type":"String"},{"key":"cpu","expected_type":"Int","required":true},{"key":"memory","expected_type":"Int","required":true}]}}}"#;
    let desk = Desk::with(&[batch]);
    let mut state: State = desk.0.state().clone();
    let before = live_bytes();
    let mut grew = Vec::new();
    let joined = r#"{"ctx":{"node_id":"n1","epoch":1},"spec":{"host":"h","place":"p","session":"s","resources":{"cpus":64},"lease_ms":30000,"namespaces":["batch"]}}"#;
    let joined = decode(joined.as_bytes()).expect("JSON");
    let joined = joined.as_map().expect("a map");
    let part = |key| joined.get(key).and_then(Value::as_map).expect("a map");
    let none = Settles::default();
    let mut apply = |seq: u64, kind: &str, ctx: &Map<'_>, spec: &Map<'_>, settles: &Settles| {
        let stamp = Stamp { at: seq.cast_signed(), counter: 0 };
        let kernel = KernelKind::from_wire(kind);
        let event = LogEvent { seq, stamp, kind, kernel, ctx, spec, settles };
        grew.clear();
        state.apply(&event, &mut grew).expect("one lattice a column");
    };
    apply(2, "NodeJoined", part("ctx"), part("spec"), &none);
    let (ns, calls) = run(texts, |seq, event| {
        apply(seq + 2, event.kind, event.ctx, event.spec, &event.settles);
    });
    let bytes = live_bytes() - before;
    let jobs = texts.len() / 4;
    assert_eq!(state.jobs.len(), jobs);
    assert!(state.jobs.iter().all(|(_, job)| job.is_settled()));
    assert_eq!(state.jobs.whole().count(), 0, "all are over");
    for job in 0..jobs {
        let ctx = format!(r#"{{"ns_id":"batch","job_id":"job-{job:013}"}}"#);
        let (ctx, spec) = (decode(ctx.as_bytes()), decode(br#"{"outcome":"succeeded"}"#));
        let (ctx, spec) = (ctx.expect("JSON"), spec.expect("JSON"));
        let seq = (texts.len() + 3 + job) as u64;
        let event = LogEvent {
            seq,
            stamp: Stamp { at: 1_700_000_000_000 + seq.cast_signed(), counter: 0 },
            kind: "ForgetJob",
            kernel: Some(KernelKind::ForgetJob),
            ctx: ctx.as_map().expect("a map"),
            spec: spec.as_map().expect("a map"),
            settles: &none,
        };
        grew.clear();
        state.apply(&event, &mut grew).expect("one lattice a column");
    }
    assert_eq!(state.jobs.forgotten_len(), jobs);
    let left = (live_bytes() - before) as f64 / jobs as f64;
    (cost(ns, calls, bytes, texts.len(), jobs), left)
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn cost(ns: u64, calls: u64, bytes: usize, events: usize, rows: usize) -> Cost {
    Cost {
        ns: ns as f64 / events as f64,
        bytes: bytes as f64 / rows as f64,
        allocations: calls as f64 / events as f64,
        again: 0.0,
    }
}
