//! A pull of ten changed rows at logs of four lengths, and what replaying the log would cost.

use hpc_core::domain::facts::Facts;
use hpc_core::lattice::max::Max;
use hpc_core::lattice::{Atom, Cell, LatticeKind};

use crate::measure::timed;

/// Rows that have changed.
const CHANGED: u64 = 10;
const REPEATS: u32 = 10_000;

/// Times in µs.
pub struct Pull {
    /// To find the rows.
    pub find: f64,
    /// To find them and write them as JSON.
    pub json: f64,
    /// To join every event again, as a reader without an index must.
    pub replay: f64,
}

/// After so many events, three for each job.
#[expect(clippy::cast_precision_loss, reason = "figures for people")]
pub fn after(events: u64) -> Pull {
    let mut facts = Facts::new();
    let phase = facts.column("jobs", "phase", LatticeKind::Max);
    let code = facts.column("jobs", "code", LatticeKind::Max);
    let jobs = events / 3;
    let said = |n: u64| Cell::Max(Max::of(Atom::Int(n.cast_signed())));
    let values: Vec<Cell> = (0..4).map(said).collect();
    let ((), replay) = timed(|| {
        let mut seq = 0;
        for job in 0..jobs {
            let key = format!("job-{job:013}");
            for step in 1..=3 {
                seq += 1;
                facts.join(phase, &key, &values[step], seq).expect("a max");
            }
        }
    });
    let cursor = 3 * jobs;
    for n in 0..CHANGED {
        let key = format!("job-{:013}", n * (jobs / CHANGED));
        facts.join(code, &key, &values[1], cursor + 1 + n).expect("a max");
    }
    let head = cursor + CHANGED;
    let mut rows = 0;
    let ((), find) = timed(|| {
        for _ in 0..REPEATS {
            rows += facts.changed_after(cursor, head, 10_000, None).rows();
        }
    });
    assert_eq!(rows as u64, CHANGED * u64::from(REPEATS));
    let mut bytes = 0;
    let ((), json) = timed(|| {
        for _ in 0..REPEATS {
            bytes += facts.pull(cursor, head, 10_000, None).facts.len();
        }
    });
    assert!(bytes > 0);
    let us = |ns: u64, repeats: u32| ns as f64 / f64::from(repeats) / 1e3;
    Pull { find: us(find, REPEATS), json: us(json, REPEATS), replay: us(replay, 1) }
}
