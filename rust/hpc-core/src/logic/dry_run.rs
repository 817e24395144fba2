//! Dry run: what a batch would say and change, without recording it.
//!
//! The batch is recorded by the same code into a Hub that is thrown away: it has the same
//! namespaces, nodes, clock and seq, of the jobs those that the batch names, and generators without
//! facts, so that what they hold afterwards is the delta. No id is remembered, no number used.

use super::check::Checked;
use super::hub::{Fault, Hub};
use super::kernel::KERNEL_GID;
use crate::domain::facts::Facts;
use crate::domain::json_write::{ObjectWriter, write_str};

impl Hub {
    /// The receipt that a batch would get, with the delta of each generator beside it.
    ///
    /// # Errors
    /// A mistake of ours.
    pub(super) fn try_out(
        &self,
        id: Option<String>,
        events: Vec<Checked<'_>>,
    ) -> Result<Vec<u8>, Fault> {
        let id = id.unwrap_or_else(|| self.own_batch_id());
        let mut trial = self.trial(&events);
        let mut row = trial.begin_row();
        let (jobs, _) = trial.record_events(&mut row, events)?;
        let (first_seq, count) = (row.first_seq, row.count);
        let deltas = self.deltas(&trial);
        let grown = deltas
            .iter()
            .filter(|(_, delta, known)| known.would_grow(delta));
        let pokes = grown.map(|(gid, ..)| *gid);
        let jobs = jobs.iter().filter_map(|ix| trial.state.jobs.id(*ix));
        let mut out = Vec::with_capacity(512);
        let mut object = ObjectWriter::new(&mut out);
        object
            .str("id", &id)
            .int("first_seq", first_seq)
            .int("count", count)
            .bool("duplicate", false)
            .list("jobs", jobs, write_str)
            .list("pokes", pokes, write_str);
        let mut inner = ObjectWriter::new(object.key("deltas"));
        for (gid, delta, _) in &deltas {
            if delta.rows() > 0 {
                let page = delta.pull(0, trial.last_seq, usize::MAX, None);
                inner.raw(gid, &page.facts);
            }
        }
        inner.end();
        object.end();
        Ok(out)
    }

    fn trial(&self, events: &[Checked<'_>]) -> Self {
        let mut trial = Self::new(self.config.clone());
        trial.now = self.now;
        trial.last_seq = self.last_seq;
        trial.stamp = self.stamp;
        trial.state.namespaces = self.state.namespaces.clone();
        trial.state.nodes = self.state.nodes.clone();
        trial.state.generators = self.state.generators.without_facts();
        let named = events.iter().filter_map(|event| event.ctx.str("job_id"));
        trial.state.jobs = self.state.jobs.only(named);
        trial
    }

    /// Each generator in byte order of the ids, with what the trial says in it and what is known.
    fn deltas<'h>(&'h self, trial: &'h Self) -> Vec<(&'h str, &'h Facts, &'h Facts)> {
        let registered = self.state.generators.iter().filter_map(|(gid, known)| {
            let delta = trial.state.generators.get(gid)?;
            Some((gid, delta.facts(), known.facts()))
        });
        let kernel = (
            KERNEL_GID,
            trial.state.kernel.facts(),
            self.state.kernel.facts(),
        );
        let mut all: Vec<_> = registered.chain([kernel]).collect();
        all.sort_unstable_by_key(|(gid, ..)| *gid);
        all
    }
}
