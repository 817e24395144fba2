//! Whether the Hub's live state is what the log says, and whether it keeps its own books.

use super::*;

impl Ledger {
    /// What the Hub has left of forgotten jobs is what became of each task.
    pub(super) fn check_left(&self, hub: &Hub) {
        let (jobs, kernel) = (&hub.state().jobs, &hub.state().kernel);
        assert_eq!(jobs.forgotten_len(), self.forgotten.len());
        for (id, tasks) in &self.jobs {
            let Some(ix) = jobs.find(id) else {
                continue;
            };
            let is_forgotten = self.forgotten.contains(id);
            assert_eq!(kernel.is_forgotten(id), is_forgotten, "{id}");
            assert_eq!(jobs.get(ix).is_none(), is_forgotten, "{id}");
            let has_row = kernel.facts().find("jobs", id, "phase").is_some();
            assert_eq!(has_row, !is_forgotten, "{id} has a row");
            let Some(left) = jobs.forgotten(ix) else {
                continue;
            };
            assert_eq!(left.id, id);
            assert_eq!(left.settled.all().len(), tasks.len() as u64);
            for (number, task) in tasks {
                let outcome = Outcome::from_wire(task.decided.unwrap()).unwrap();
                assert!(
                    left.settled.of(outcome).contains(*number),
                    "P3: {number} of {id}"
                );
            }
        }
    }

    /// Checks that the Hub's live state is what the log says, and keeps its own books.
    pub fn check_state(&self, hub: &Hub) {
        let state = hub.state();
        // By node: jobs, and what their leases take.
        let mut leased: BTreeMap<&str, (BTreeSet<u32>, Vec<i64>, i64)> = BTreeMap::new();
        let mut waiting = BTreeSet::new();
        self.check_left(hub);
        for (ix, job) in state.jobs.iter() {
            self.check_job(hub, &job);
            if job.is_ready() {
                waiting.insert(ix);
            }
            for lease in &job.leases {
                let node = state.nodes.get(lease.node).unwrap();
                let count = i64::try_from(lease.tasks.len()).unwrap();
                let (jobs, used, exclusive) = leased.entry(&node.id).or_default();
                jobs.insert(ix);
                let shape = state.queue.shape_at(lease.shape);
                *exclusive += count * i64::from(shape.is_exclusive());
                for (resource, need) in &shape.needs {
                    used.resize(used.len().max(resource + 1), 0);
                    used[*resource] += need * count;
                }
            }
        }
        for (_, node) in state.nodes.iter() {
            let none = Default::default();
            let (jobs, used, exclusive) = leased.get(&*node.id).unwrap_or(&none);
            let mut used = used.clone();
            used.resize(node.used.len().max(used.len()), 0);
            assert_eq!(
                (&node.used, node.exclusive),
                (&used, *exclusive),
                "the book of {} is the sum of its leases",
                node.id
            );
            assert_eq!(node.leases, *jobs, "jobs with a lease at {}", node.id);
        }
        let last = hpc_core::logic::queue::Rank {
            priority: std::cmp::Reverse(i64::MIN),
            seq: u64::MAX,
        };
        let namespaces = state.namespaces.ids();
        let queued: BTreeSet<u32> = namespaces
            .flat_map(|ns| state.queue.ahead(ns, last).map(|(_, job, _)| job))
            .collect();
        assert_eq!(queued, waiting, "the queue holds the jobs with ready tasks");
        assert_eq!(state.queue.is_empty(), waiting.is_empty());
    }

    pub(super) fn check_job(&self, hub: &Hub, job: &Job) {
        let known = &self.jobs[&*job.id];
        assert_eq!(
            job.tasks.iter().collect::<Vec<_>>(),
            known.keys().copied().collect::<Vec<_>>()
        );
        for (number, task) in known {
            let name = format!("task {number} of {}", job.id);
            let outcomes = Outcome::ALL
                .into_iter()
                .filter(|o| job.settled.of(*o).contains(*number));
            let outcomes: Vec<&str> = outcomes.map(Outcome::wire).collect();
            assert_eq!(outcomes, task.decided.as_slice(), "P3: outcomes of {name}");
            let leases = job
                .leases
                .iter()
                .filter(|lease| lease.tasks.contains(*number));
            let leases: Vec<Execution> = leases
                .map(|lease| {
                    let node = hub.state().nodes.get(lease.node).unwrap();
                    assert_eq!(
                        lease.epoch, node.epoch,
                        "leases pass over to the newest epoch"
                    );
                    (u64::from(lease.attempt), node.id.to_string())
                })
                .collect();
            assert_eq!(
                leases,
                task.active.as_slice(),
                "P14: active attempts of {name}"
            );
            let open = job.open();
            let queued = open.iter().filter(|(_, ready)| ready.contains(*number));
            let queued: Vec<u64> = queued.map(|(attempt, _)| u64::from(*attempt)).collect();
            let next = task.highest() + 1;
            let is_ready = task.decided.is_none() && task.active.is_none();
            let expected = if is_ready { vec![next] } else { vec![] };
            assert_eq!(queued, expected, "R7: next attempts of {name}");
        }
    }
}
