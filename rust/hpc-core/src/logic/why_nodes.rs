//! Why a job waits, node by node: what each lacks, by how much, and what would help.
//!
//! The one sentence for the whole job is `why.rs`'s. This is asked for one job at a time, so it may
//! look at every node.

use super::attempts::NodeIx;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Node, NodeState, at};
use super::query::Query;
use super::reservation::left_here;
use super::units::duration;
use super::why::{amount, quantity, tasks_word};
use super::why_places::takes_nothing;
use crate::domain::json::Value;
use crate::domain::json_write::ObjectWriter;
use crate::domain::problem::Problem;

/// Nothing is said of a node that has been gone for longer, ms.
const GONE_SHOWN_MS: i64 = 86_400_000;

impl Hub {
    /// `GET /jobs/{id}/why`: the sentence, and one for each node.
    pub(super) fn read_why(&mut self, token: u64, query: &str) {
        match self.why_page(query) {
            Ok(body) => self.reply(token, 200, body),
            Err(problem) => self.refuse(token, &problem),
        }
    }

    /// The body of that answer.
    pub(super) fn why_page(&self, query: &str) -> Result<Vec<u8>, Box<Problem>> {
        let query = Query::parse(query, &["job_id"])?;
        let job = self.known_job(query.get("job_id").unwrap_or_default())?;
        let why = self.why(&job, &mut self.lookout());
        let can_never_run = self.obstacle(&job.ns_id, job.shape).is_some();
        let mut out = Vec::with_capacity(1024);
        let mut object = ObjectWriter::new(&mut out);
        object.int("cursor", self.last_seq());
        let mut data = ObjectWriter::new(object.key("data"));
        data.str("job_id", &job.id)
            .value("why", &why.map_or(Value::Null, Value::text));
        // Nobody stands before what no node could run.
        if can_never_run {
            data.value("ahead", &Value::Null);
        } else {
            let counted = self.ahead(&job, &mut self.lookout());
            ObjectWriter::new(data.key("ahead"))
                .int("higher", counted.higher)
                .int("earlier", counted.earlier)
                .bool("more", counted.is_cut)
                .end();
        }
        let nodes = self.state.nodes.iter();
        let is_shown = |node: &Node| node.epoch > 0 && !self.is_long_gone(node);
        let nodes = nodes.filter(|(_, node)| is_shown(node) && !job.is_settled());
        data.list("nodes", nodes, |out, (ix, node)| {
            let obstacle = self.obstacle_at(ix, node, &job);
            let heard = self.silence(node).filter(|_| node.state == NodeState::Up);
            let has_room = obstacle.is_none() && heard.is_none();
            let says = obstacle.unwrap_or_else(|| "has room for it".to_owned());
            let says = heard.map_or_else(|| says.clone(), |heard| format!("{says}; {heard}"));
            ObjectWriter::new(out)
                .str("node_id", &node.id)
                .bool("fits", has_room)
                .str("why", &says)
                .end();
        });
        data.end();
        object.end();
        Ok(out)
    }

    fn is_long_gone(&self, node: &Node) -> bool {
        let gone = node.gone_at.map(|at| self.now.wall - at);
        gone.is_some_and(|gone| gone > GONE_SHOWN_MS)
    }

    /// What keeps a task of a job from starting at a node, in words that follow its name.
    fn obstacle_at(&self, ix: NodeIx, node: &Node, job: &Job) -> Option<String> {
        let now = self.now.mono;
        let shape = self.state.queue.shape_at(job.shape);
        if node.state != NodeState::Up {
            let heard = self.silence(node).map(|heard| format!(", {heard}"));
            return takes_nothing(node).map(|gone| gone.to_owned() + &heard.unwrap_or_default());
        }
        if !node.namespaces.contains(&job.ns_id) {
            let follows = node.namespaces.join(", ");
            return Some(format!("follows {follows}, not {}", job.ns_id));
        }
        // All that keeps it from running there whatever ends: one of these alone mended is no help.
        let placement = shape.placement.as_ref();
        let placement = placement.and_then(|place| place.obstacle(node, node.left_ms(now)));
        let lacks = (!node.has(shape)).then(|| self.lacks(node, job));
        let could = placement.is_none() && lacks.is_none();
        let idle = takes_nothing(node).map(|idle| match node.is_leaving {
            false if could => format!("{idle}: hpc node undrain {}", node.id),
            _ => idle.to_owned(),
        });
        let says: Vec<String> = [idle, placement, lacks].into_iter().flatten().collect();
        if !says.is_empty() {
            return Some(says.join("; "));
        }
        if left_here(job, ix, shape) == 0 {
            let most = shape.max_per_node();
            return Some(format!(
                "has {} of it, as many as it allows there",
                tasks_word(most)
            ));
        }
        if self.room_of(ix, job, false) > 0 {
            return None;
        }
        let kept = node.reserved.filter(|kept| kept.rank < job.rank);
        let kept = kept.and_then(|kept| self.state.jobs.get(kept.job));
        let kept = kept.map(|of| format!("is kept for job {}, which comes first", of.id));
        Some(kept.unwrap_or_else(|| self.is_full(ix, node, job)))
    }

    /// Since when a node is not heard that is silent: a claim comes every quarter of its lease.
    fn silence(&self, node: &Node) -> Option<String> {
        let silent = self.now.mono - node.heard_at?;
        let ago = duration(silent / 1000);
        (silent > node.lease_ms / 2).then(|| format!("last heard {ago} ago"))
    }

    /// What a node has too little of, also when nothing runs there.
    fn lacks(&self, node: &Node, job: &Job) -> String {
        let needs = self.state.queue.shape_at(job.shape).needs.iter();
        let lacking = needs.filter(|(resource, need)| at(&node.total, *resource) < *need);
        let parts = lacking.map(|(resource, need)| {
            let has = at(&node.total, *resource);
            let short = need - has;
            let name = self.resource_name(*resource);
            format!(
                "offers {}, it needs {}: {} too few",
                amount(name, has),
                amount(name, *need),
                amount(name, short)
            )
        });
        parts.collect::<Vec<_>>().join("; ")
    }

    /// What must become free at a node that has enough in all.
    fn is_full(&self, ix: NodeIx, node: &Node, job: &Job) -> String {
        let shape = self.state.queue.shape_at(job.shape);
        if node.exclusive > 0 {
            return "runs a task that has it to itself".to_owned();
        }
        if shape.is_exclusive() {
            let leases = self.leases_at(ix, node);
            let jobs = leases.filter(|(_, lease)| !lease.started.is_empty());
            let jobs = jobs.count().max(1);
            let word = if jobs == 1 { "job" } else { "jobs" };
            return format!("runs tasks of {jobs} {word}, and it wants the node to itself");
        }
        let leases: Vec<_> = self.leases_at(ix, node).collect();
        let taken = self.taken_of(node, &leases);
        let needs = shape.needs.iter();
        let parts = needs.filter_map(|(resource, need)| {
            let (total, used) = (at(&node.total, *resource), at(&taken.used, *resource));
            let name = self.resource_name(*resource);
            let short = used + need - total;
            (short > 0).then(|| {
                format!(
                    "{} of {} taken, {} more must become free",
                    quantity(name, used),
                    amount(name, total),
                    amount(name, short)
                )
            })
        });
        let mut parts: Vec<String> = parts.collect();
        if taken.ahead > 0 {
            let are = if taken.ahead == 1 { "is" } else { "are" };
            parts.push(format!("{} {are} leased ahead", tasks_word(taken.ahead)));
        }
        match parts.is_empty() {
            true => "has no room now".to_owned(),
            false => parts.join("; "),
        }
    }

    fn resource_name(&self, resource: usize) -> &str {
        let names = self.state.queue.resources();
        names.get(resource).map_or("", String::as_str)
    }
}
