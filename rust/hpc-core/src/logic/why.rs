//! Why a job waits, or what still holds on to it: one sentence that names what is missing.

use super::hub::Hub;
use super::jobs::Job;
use super::nodes::{Node, NodeState, at};

/// So many jobs ahead are counted; looking at one job must not cost the whole queue.
const JOBS_AHEAD_MAX: usize = 1_000;

impl Hub {
    /// Why a job waits, or what still holds on to it, in a sentence.
    pub(super) fn why(&self, job: &Job) -> Option<String> {
        if job.is_settled() {
            return self.ending_on(job);
        }
        if job.queued.is_empty() {
            return None;
        }
        let nodes = || self.state.nodes.iter().map(|(_, node)| node);
        let serving: Vec<&Node> = nodes()
            .filter(|node| node.state == NodeState::Up && node.namespaces.contains(&job.ns_id))
            .collect();
        if serving.is_empty() {
            return Some(self.nobody_serves(&job.ns_id));
        }
        let needs = self.state.queue.needs(job.shape);
        let taking: Vec<&&Node> = serving.iter().filter(|node| node.takes_work()).collect();
        if taking.is_empty() {
            return Some(format!("every relay of `{}` is drained", job.ns_id));
        }
        if taking.iter().all(|node| node.capacity(needs) == 0) {
            return Some(self.does_not_fit(job, &taking));
        }
        let ahead = self.state.queue.ahead(&job.ns_id, job.rank);
        let mut higher = 0;
        let mut earlier = 0;
        for (count, ix) in ahead.enumerate() {
            if count == JOBS_AHEAD_MAX {
                return Some(format!("behind more than {}", tasks_word(higher + earlier)));
            }
            let Some(other) = self.state.jobs.get(ix) else {
                continue;
            };
            if other.rank.priority < job.rank.priority {
                higher += other.queued_count();
            } else {
                earlier += other.queued_count();
            }
        }
        Some(match (higher, earlier) {
            (0, 0) => "next: waits for running tasks to free what it needs".to_owned(),
            (higher, 0) => format!("behind {} of higher priority", tasks_word(higher)),
            (0, earlier) => format!("behind {} submitted earlier", tasks_word(earlier)),
            (higher, earlier) => format!(
                "behind {} of higher priority and {} submitted earlier",
                tasks_word(higher),
                tasks_word(earlier)
            ),
        })
    }

    fn nobody_serves(&self, ns_id: &str) -> String {
        let mut away: Vec<&str> = self
            .state
            .nodes
            .iter()
            .filter(|(_, node)| {
                node.state == NodeState::Unreachable && node.namespaces.iter().any(|ns| ns == ns_id)
            })
            .map(|(_, node)| node.id.as_ref())
            .collect();
        away.sort_unstable();
        if away.is_empty() {
            format!("no relay follows `{ns_id}`")
        } else {
            format!(
                "no relay follows `{ns_id}` now: {} unreachable",
                away.join(", ")
            )
        }
    }

    fn does_not_fit(&self, job: &Job, nodes: &[&&Node]) -> String {
        let names = self.state.queue.resources();
        let needs = self.state.queue.needs(job.shape);
        let mut parts: Vec<String> = Vec::new();
        for (resource, need) in needs {
            let most = nodes
                .iter()
                .map(|node| at(&node.total, *resource))
                .max()
                .unwrap_or(0);
            if most < *need {
                let name = names.get(*resource).map_or("", |name| name);
                let need = amount(name, *need);
                let most = match name {
                    "memory_mib" => format!("{most} MiB"),
                    _ => most.to_string(),
                };
                parts.push(format!("needs {need}, the largest relay has {most}"));
            }
        }
        if parts.is_empty() {
            "no single relay has all that it needs".to_owned()
        } else {
            parts.join("; ")
        }
    }

    /// Nodes that still hold tasks of a settled job.
    fn ending_on(&self, job: &Job) -> Option<String> {
        let holding = self.state.nodes.iter().filter(|(ix, node)| {
            node.holds.iter().any(|hold| {
                hold.job_id == *job.id
                    && job.leased_ever(hold.attempt, *ix).intersection(&hold.tasks)
                        != job.ended(hold.attempt, *ix).intersection(&hold.tasks)
            })
        });
        let names: Vec<&str> = holding.map(|(_, node)| node.id.as_ref()).collect();
        (!names.is_empty()).then(|| format!("ending on {}", names.join(", ")))
    }
}

fn tasks_word(count: u64) -> String {
    if count == 1 {
        "1 task".to_owned()
    } else {
        format!("{count} tasks")
    }
}

/// An amount of a resource as people say it.
fn amount(name: &str, n: i64) -> String {
    match name {
        "memory_mib" => format!("{n} MiB of memory"),
        "cpus" if n == 1 => "1 cpu".to_owned(),
        _ => format!("{n} {name}"),
    }
}
