//! Tails: readers of tasks' output, of whom the open claim of the task's node tells: of one that
//! runs, or of one that has ended and left more with its node than a report carries.

use super::attempts::NodeIx;
use super::hub::Hub;
use super::job::Job;
use super::query::Query;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::Problem;
use crate::lattice::tasks::TaskSet;

/// One reader.
#[derive(Clone, Debug)]
pub(super) struct Watch {
    /// Names it to the transport.
    id: u64,
    job_id: String,
    task: u32,
    stream: String,
    offset: u64,
    /// Where the task runs.
    pub node: Option<NodeIx>,
    /// Whether the node was told.
    told: bool,
}

impl Watch {
    /// Appends an entry of a claim's `tail`.
    pub fn write(&self, out: &mut Vec<u8>) {
        ObjectWriter::new(out)
            .int("watch", self.id)
            .str("job_id", &self.job_id)
            .int("task", self.task)
            .str("stream", &self.stream)
            .int("offset", self.offset)
            .end();
    }
}

impl Hub {
    /// Registers a reader; answers where the task runs, or where an attempt of it has run.
    pub(super) fn tail(&mut self, token: u64, query: &str) {
        match self.try_tail(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    fn try_tail(&mut self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let known = ["job_id", "task", "stream", "offset", "watch", "attempt"];
        let query = Query::parse(query, &known)?;
        let job_id = query.get("job_id").unwrap_or_default();
        let task = query.int("task", 0, u64::from(u32::MAX))?.unwrap_or(0);
        let task = u32::try_from(task).unwrap_or_default();
        let job = self
            .state
            .jobs
            .find(job_id)
            .and_then(|ix| self.state.jobs.get(ix));
        let lease = job
            .as_deref()
            .and_then(|job| job.leases.iter().find(|l| l.tasks.contains(task)));
        let attempt = query.int("attempt", 1, u64::from(u32::MAX))?;
        let has_run = |job: &Job| {
            // What goes on elsewhere, or waits to, has left nothing there that could be read.
            if !job.unsettled_among(&TaskSet::one(task)).is_empty() {
                return None;
            }
            let attempt = u32::try_from(attempt?).ok()?;
            let mut ran = job.attempts.iter();
            let ran = ran.find(|(key, ran)| key.attempt == attempt && ran.tasks.contains(task));
            ran.map(|(key, _)| (key.node, attempt))
        };
        let place = match lease {
            Some(lease) => Some((lease.node, lease.attempt)),
            None => job.as_deref().and_then(has_run),
        };
        let Some((node_ix, attempt)) = place else {
            let detail = format!("Task {task} of job `{job_id}` does not run now");
            return Err(Problem::not_found(detail).into());
        };
        let watch = Watch {
            id: query.int("watch", 0, u64::MAX)?.unwrap_or(0),
            job_id: job_id.to_owned(),
            task,
            stream: query.get("stream").unwrap_or("stdout").to_owned(),
            offset: query.int("offset", 0, u64::MAX)?.unwrap_or(0),
            node: Some(node_ix),
            told: false,
        };
        self.watches.retain(|other| other.id != watch.id);
        self.watches.push(watch);
        let Some(node) = self.state.nodes.get_mut(node_ix) else {
            return Err(Problem::not_found("The node is not known").into());
        };
        node.attention = true;
        let mut out = Vec::new();
        ObjectWriter::new(&mut out)
            .str("node_id", &node.id)
            .str("state", node.state.wire())
            .int("attempt", attempt)
            .end();
        Ok(out)
    }

    /// Forgets a reader; its node learns it from its next answer.
    pub(super) fn untail(&mut self, query: &str) {
        let id = query.strip_prefix("watch=").and_then(|id| id.parse().ok());
        self.watches.retain(|watch| Some(watch.id) != id);
    }

    /// Whether a node has readers that it was not told of.
    pub(super) fn tails_changed(&self, ix: NodeIx) -> bool {
        let mut watches = self.watches.iter();
        watches.any(|watch| watch.node == Some(ix) && !watch.told)
    }

    /// Notes that a node was told of its readers.
    pub(super) fn tails_told(&mut self, ix: NodeIx) {
        for watch in self.watches.iter_mut().filter(|w| w.node == Some(ix)) {
            watch.told = true;
        }
    }
}
