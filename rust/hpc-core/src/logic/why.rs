//! Why a job waits, or what still holds on to it: one sentence that names what is missing.

use std::collections::HashMap;

use super::attempts::NodeIx;
use super::gate::Standing;
use super::hub::Hub;
use super::job::Job;
use super::nodes::{Hold, Node};
use super::queue::ShapeIx;
use super::reservation::left_here;
use super::units::{duration, memory};

/// So many jobs ahead are counted for one page; looking at jobs must not cost the whole queue.
pub(super) const JOBS_AHEAD_MAX: usize = 10_000;

/// So many of the jobs that one waits for are named.
const NAMED_MAX: usize = 3;

/// What the sentences of one answer share, so that a page costs what is on it.
pub(super) struct Lookout<'h> {
    /// Which nodes hold something of a job, where that was looked up once for all jobs.
    holders: Option<HashMap<&'h str, Vec<NodeIx>>>,
    /// What keeps every task of a shape from running, by namespace.
    obstacles: HashMap<(&'h str, ShapeIx), Option<String>>,
    /// How many jobs ahead may still be counted.
    steps_left: usize,
}

/// The ready tasks before a job.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Ahead {
    /// Of higher priority.
    pub higher: u64,
    /// Submitted earlier, of the same.
    pub earlier: u64,
    /// Whether there are more than were counted.
    pub is_cut: bool,
}

impl Hub {
    /// For the sentence of one job.
    pub(super) fn lookout(&self) -> Lookout<'_> {
        Lookout {
            holders: None,
            obstacles: HashMap::new(),
            steps_left: JOBS_AHEAD_MAX,
        }
    }

    /// For the sentences of many jobs.
    pub(super) fn lookout_of_page(&self) -> Lookout<'_> {
        let mut holders: HashMap<&str, Vec<NodeIx>> = HashMap::new();
        for (ix, node) in self.state.nodes.iter() {
            for hold in &node.holds {
                let nodes = holders.entry(&hold.job_id).or_default();
                if nodes.last() != Some(&ix) {
                    nodes.push(ix);
                }
            }
        }
        Lookout {
            holders: Some(holders),
            ..self.lookout()
        }
    }

    /// Why a job waits, or what still holds on to it, in a sentence.
    pub(super) fn why<'h>(&'h self, job: &'h Job, lookout: &mut Lookout<'h>) -> Option<String> {
        if job.is_settled() {
            return self.ending_on(job, lookout);
        }
        if job.queued.is_empty() {
            return self.at_the_gate(job);
        }
        if job.throttle_left() == 0 {
            let running: u64 = job.leases.iter().map(|lease| lease.tasks.len()).sum();
            let run = if running == 1 { "runs" } else { "run" };
            return Some(format!(
                "{} of it {run}, and it allows no more at a time",
                tasks_word(running)
            ));
        }
        if let Some(obstacle) = self.obstacle_of(&job.ns_id, job.shape, lookout) {
            return Some(obstacle.to_owned());
        }
        let own = self.own_limit(job);
        Some(own.unwrap_or_else(|| self.who_is_ahead(job, lookout)))
    }

    /// What keeps every task of a shape from running, looked up once.
    fn obstacle_of<'l, 'h>(
        &'h self,
        ns_id: &'h str,
        shape: ShapeIx,
        lookout: &'l mut Lookout<'h>,
    ) -> Option<&'l str> {
        let obstacles = lookout.obstacles.entry((ns_id, shape));
        let obstacle = obstacles.or_insert_with(|| self.obstacle(ns_id, shape));
        obstacle.as_deref()
    }

    /// What a job waits for of which no task is ready; `None` where all are leased.
    fn at_the_gate(&self, job: &Job) -> Option<String> {
        let gate = job.gate.as_ref()?;
        let parked = gate.parked();
        if parked.is_empty() {
            return None;
        }
        let waiting = gate.waiting(&parked);
        if waiting.is_empty() {
            let held = gate.held(&parked);
            if !held.is_empty() {
                return Some(format!("held: hpc job release {}", job.id));
            }
            let until = gate.delays.keys().next().copied().unwrap_or_default();
            let left = until.saturating_sub(self.steady()).max(0);
            return Some(format!(
                "{} failed and will be tried again in {}",
                tasks_word(parked.len()),
                duration(left.saturating_add(999) / 1000)
            ));
        }
        let open = gate.after.iter();
        let open = open.filter(|after| after.standing == Standing::Open);
        let open = open.map(|after| {
            let id = &after.job_id;
            let of = self
                .state
                .jobs
                .find(id)
                .and_then(|ix| self.state.jobs.get(ix));
            match of.filter(|of| of.tasks.len() > 1) {
                Some(of) => {
                    let (settled, all) = (of.settled_count(), of.tasks.len());
                    format!("job {id} ({settled} of {all} tasks are done)")
                }
                None => format!("job {id}"),
            }
        });
        let open: Vec<String> = open.collect();
        let open: Vec<&str> = open.iter().map(String::as_str).collect();
        let mut sentence = format!("waits for {}", named(&open));
        if !gate.held(&parked).is_empty() {
            sentence.push_str("; and held");
        }
        Some(sentence)
    }

    fn who_is_ahead<'h>(&'h self, job: &'h Job, lookout: &mut Lookout<'h>) -> String {
        let ahead = self.ahead(job, lookout);
        let (higher, earlier) = (ahead.higher, ahead.earlier);
        match (higher, earlier) {
            (0, 0) if ahead.is_cut => "behind others".to_owned(),
            (0, 0) => self.the_next(job),
            _ if ahead.is_cut => format!("behind more than {}", tasks_word(higher + earlier)),
            (higher, 0) => format!("behind {} of higher priority", tasks_word(higher)),
            (0, earlier) => format!("behind {} submitted earlier", tasks_word(earlier)),
            (higher, earlier) => format!(
                "behind {} of higher priority and {} submitted earlier",
                tasks_word(higher),
                tasks_word(earlier)
            ),
        }
    }

    /// That a job has on each node that could run it as many tasks as it allows there: whoever is
    /// ahead of it, it waits for its own.
    fn own_limit(&self, job: &Job) -> Option<String> {
        let shape = self.state.queue.shape_at(job.shape);
        let most = shape.max_per_node();
        if most == u64::MAX {
            return None;
        }
        let mut places = self.state.nodes.iter().filter(|(_, node)| {
            node.takes_work()
                && node.namespaces.contains(&job.ns_id)
                && node.capacity(shape, self.now.mono) > 0
        });
        let run = if most == 1 { "runs" } else { "run" };
        let is_full = places.all(|(ix, _)| left_here(job, ix, shape) == 0);
        is_full.then(|| {
            format!(
                "{} of it {run} on each node that could, and it allows no more there",
                tasks_word(most)
            )
        })
    }

    /// What the job waits for that is the next.
    fn the_next(&self, job: &Job) -> String {
        let mut nodes = self.state.nodes.iter();
        let ix = self.state.jobs.find(&job.id);
        let kept = nodes.find(|(_, node)| node.reserved.is_some_and(|of| Some(of.job) == ix));
        match kept {
            Some((_, node)) => format!(
                "the next: node {} is kept for it until running tasks free what it needs",
                node.id
            ),
            None => "the next, once running tasks free what it needs".to_owned(),
        }
    }

    /// How many ready tasks stand before a job, but for those that no node could run now.
    pub(super) fn ahead<'h>(&'h self, job: &'h Job, lookout: &mut Lookout<'h>) -> Ahead {
        let mut ahead = Ahead::default();
        for (rank, ix, shape) in self.state.queue.ahead(&job.ns_id, job.rank) {
            if lookout.steps_left == 0 {
                ahead.is_cut = true;
                break;
            }
            lookout.steps_left -= 1;
            if self.obstacle_of(&job.ns_id, shape, lookout).is_some() {
                continue;
            }
            let ready = self.state.jobs.queued_count(ix);
            if rank.priority < job.rank.priority {
                ahead.higher += ready;
            } else {
                ahead.earlier += ready;
            }
        }
        ahead
    }

    /// Nodes that still hold tasks of a settled job.
    fn ending_on(&self, job: &Job, lookout: &Lookout<'_>) -> Option<String> {
        let names: Vec<&str> = match &lookout.holders {
            Some(holders) => {
                let nodes = holders.get(job.id.as_ref()).into_iter().flatten();
                let nodes = nodes.filter_map(|ix| Some((*ix, self.state.nodes.get(*ix)?)));
                nodes
                    .filter_map(|(ix, node)| still_ends(job, ix, node))
                    .collect()
            }
            None => {
                let nodes = self.state.nodes.iter();
                nodes
                    .filter_map(|(ix, node)| still_ends(job, ix, node))
                    .collect()
            }
        };
        (!names.is_empty()).then(|| format!("ending on {}", names.join(", ")))
    }
}

/// The name of a node that holds tasks of a job which no report says have ended.
fn still_ends<'n>(job: &Job, ix: NodeIx, node: &'n Node) -> Option<&'n str> {
    // Holds are sorted by job.
    let from = node.holds.partition_point(|hold| *hold.job_id < *job.id);
    let holds = node.holds.get(from..).unwrap_or_default();
    let mut holds = holds.iter().take_while(|hold| *hold.job_id == *job.id);
    let has_open = |hold: &Hold| {
        let leased = job.leased_ever(hold.attempt, ix, &hold.tasks);
        leased != job.ended(hold.attempt, ix, &leased)
    };
    holds.any(has_open).then_some(&*node.id)
}

/// The first few, and how many more there are.
pub(super) fn named(all: &[&str]) -> String {
    let (named, others) = all.split_at(all.len().min(NAMED_MAX));
    let mut text = named.join(", ");
    if !others.is_empty() {
        text.push_str(&format!(" and {} more", others.len()));
    }
    text
}

pub(super) fn tasks_word(count: u64) -> String {
    if count == 1 {
        "1 task".to_owned()
    } else {
        format!("{count} tasks")
    }
}

/// An amount of a resource as people say it: `1 cpu`, `3 licences`, `2 GiB of memory`.
pub(super) fn amount(name: &str, n: i64) -> String {
    let plural = name.strip_suffix('s').filter(|_| n == 1);
    let one = plural.filter(|one| {
        matches!(name, "cpus" | "gpus") || one.len() > 2 && !one.ends_with(['s', 'u', 'i'])
    });
    match name {
        "memory_mib" => format!("{} of memory", memory(n)),
        _ => format!("{n} {}", one.unwrap_or(name)),
    }
}

/// The same beside its name.
pub(super) fn quantity(name: &str, n: i64) -> String {
    match name {
        "memory_mib" => memory(n),
        _ => n.to_string(),
    }
}
