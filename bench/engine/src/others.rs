//! The same facts kept otherwise: by hand, by the crate `lattices`, by the crate `crdts`.

use std::collections::{HashMap, HashSet};

use crdts::{CmRDT as _, MVReg, Map};
use lattices::map_union::{MapUnionHashMap, MapUnionSingletonMap};
use lattices::set_union::SetUnionHashSet;
use lattices::{Max, Merge as _, Pair};

use crate::measure::{live_bytes, timed};

/// What one event says: job, phase, and what the first and the last event say besides.
pub struct Said {
    job: String,
    phase: i64,
    submitted: Option<(String, i64)>,
    code: Option<i64>,
}

/// What the events of `workload::job_events` say, taken apart already.
pub fn said(texts: &[String]) -> Vec<Said> {
    texts
        .iter()
        .map(|text| {
            let event: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let (ctx, spec) = (&event["payload"]["ctx"], &event["payload"]["spec"]);
            Said {
                job: ctx["job_id"].as_str().expect("an id").to_owned(),
                phase: spec["phase"].as_i64().expect("a phase"),
                submitted: spec["priority"].as_i64().map(|priority| ("work".to_owned(), priority)),
                code: spec["code"].as_i64(),
            }
        })
        .collect()
}

/// CPU time per event in ns, and bytes per row.
pub type Cost = (f64, f64);

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measured<T>(said: &[Said], run: impl FnOnce() -> (usize, T)) -> Cost {
    let before = live_bytes();
    let ((rows, held), took) = timed(run);
    let bytes = live_bytes() - before;
    drop(held);
    assert_eq!(rows, said.len() / 3);
    (took as f64 / said.len() as f64, bytes as f64 / rows as f64)
}

#[derive(Default)]
struct Row {
    phase: i64,
    ns: HashSet<String>,
    priority: i64,
    code: Option<i64>,
    changed: [u64; 4],
}

/// A `HashMap` of rows by String, with last-changed seqs and a list of changes.
pub fn by_hand(said: &[Said]) -> Cost {
    measured(said, || {
        let mut rows: HashMap<String, Row> = HashMap::new();
        let mut changes: Vec<(u64, String)> = Vec::new();
        for (seq, one) in (1..).zip(said) {
            let row = rows.entry(one.job.clone()).or_default();
            let mut has_grown = false;
            if one.phase > row.phase {
                (row.phase, row.changed[0], has_grown) = (one.phase, seq, true);
            }
            if let Some((ns, priority)) = &one.submitted {
                if !row.ns.contains(ns) {
                    row.ns.insert(ns.clone());
                    (row.changed[1], has_grown) = (seq, true);
                }
                if *priority > row.priority {
                    (row.priority, row.changed[2], has_grown) = (*priority, seq, true);
                }
            }
            if one.code.is_some() && row.code != one.code {
                (row.code, row.changed[3], has_grown) = (one.code, seq, true);
            }
            if has_grown {
                changes.push((seq, one.job.clone()));
            }
        }
        (rows.len(), (rows, changes))
    })
}

type HydroRow = Pair<Max<i64>, Pair<SetUnionHashSet<String>, Pair<Max<i64>, SetUnionHashSet<i64>>>>;

/// `lattices` 0.7: maps and sets of the standard library; no seqs, no changes.
pub fn hydro(said: &[Said]) -> Cost {
    measured(said, || {
        let mut rows: MapUnionHashMap<String, HydroRow> = MapUnionHashMap::default();
        for one in said {
            let (ns, priority) = match &one.submitted {
                Some((ns, priority)) => (HashSet::from([ns.clone()]), *priority),
                None => (HashSet::new(), i64::MIN),
            };
            let code: HashSet<i64> = one.code.into_iter().collect();
            let row = Pair::new(
                Max::new(one.phase),
                Pair::new(
                    SetUnionHashSet::new(ns),
                    Pair::new(Max::new(priority), SetUnionHashSet::new(code)),
                ),
            );
            rows.merge(MapUnionSingletonMap::new_from((one.job.clone(), row)));
        }
        (rows.as_reveal_ref().len(), rows)
    })
}

/// `crdts` 7.3: an observed-remove map of multi-value registers, one actor; no seqs, no changes.
pub fn crdts(said: &[Said]) -> Cost {
    measured(said, || {
        let mut rows: Map<String, Map<u8, MVReg<String, u8>, u8>, u8> = Map::new();
        let mut jobs = HashSet::new();
        for one in said {
            jobs.insert(one.job.as_str());
            let mut fields = vec![(0, one.phase.to_string())];
            if let Some((ns, priority)) = &one.submitted {
                fields.extend([(1, ns.clone()), (2, priority.to_string())]);
            }
            fields.extend(one.code.map(|code| (3, code.to_string())));
            for (field, value) in fields {
                let context = rows.read_ctx().derive_add_ctx(1);
                let op = rows.update(one.job.clone(), context, |row, context| {
                    row.update(field, context, |register, context| register.write(value, context))
                });
                rows.apply(op);
            }
        }
        (jobs.len(), rows)
    })
}
