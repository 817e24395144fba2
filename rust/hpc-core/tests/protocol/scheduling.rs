//! Who gets what, against a second reading: plain books, task by task, written from the design.
//!
//! Random jobs with random needs and places are offered to random relays, whose tasks end in random
//! order. After each step: nothing is over-committed; every task is where it may be; who stands first
//! among what fits was first; and no relay has room for a ready task, but for one that the Hub says
//! it keeps for another that stands before it. In the end everything that could run has run.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use proptest::test_runner::{Config as ProptestConfig, TestRunner};
use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{World, entry, holds_through_restarts, merge, tasks};

const RESOURCES: [&str; 3] = ["cpus", "gpus", "fpgas"];

#[derive(Clone, Debug)]
struct JobPlan {
    count: u32,
    priority: i64,
    needs: [i64; 3],
    zone: Option<u8>,
    only: Option<usize>,
    exclude: Option<usize>,
    exclusive: bool,
    max_per_node: Option<usize>,
}

#[derive(Clone, Debug)]
struct NodePlan {
    has: [i64; 3],
    zone: u8,
}

#[derive(Clone, Debug)]
struct Plan {
    nodes: Vec<NodePlan>,
    jobs: Vec<JobPlan>,
    choices: Vec<u16>,
}

fn job_plans() -> impl Strategy<Value = JobPlan> {
    let needs = [0..=8_i64, 0..=2_i64, 0..=2_i64];
    let places = (
        prop::option::weighted(0.2, 0..2_u8),
        prop::option::weighted(0.1, 0..3_usize),
        prop::option::weighted(0.1, 0..3_usize),
        prop::bool::weighted(0.1),
        prop::option::weighted(0.2, 1..3_usize),
    );
    (1..6_u32, 0..3_i64, needs, places).prop_map(|(count, priority, needs, places)| {
        let (zone, only, exclude, exclusive, max_per_node) = places;
        JobPlan {
            count,
            priority,
            needs,
            zone,
            only,
            exclude,
            exclusive,
            max_per_node,
        }
    })
}

fn plans() -> impl Strategy<Value = Plan> {
    let node = ([1..=8_i64, 0..=2_i64, 0..=2_i64], 0..2_u8);
    let node = node.prop_map(|(has, zone)| NodePlan { has, zone });
    (
        prop::collection::vec(node, 1..4),
        prop::collection::vec(job_plans(), 1..7),
        prop::collection::vec(any::<u16>(), 0..60),
    )
        .prop_map(|(nodes, jobs, choices)| Plan {
            nodes,
            jobs,
            choices,
        })
}

/// What runs where: job and task to node.
type Running = BTreeMap<(usize, u32), (usize, u64)>;

struct Course {
    plan: Plan,
    world: World,
    puppets: Vec<Puppet>,
    /// Jobs in the order of their submits.
    submitted: Vec<usize>,
    waiting: BTreeSet<(usize, u32)>,
    running: Running,
}

impl Course {
    fn new(plan: &Plan) -> Self {
        let mut puppets = Vec::new();
        for (number, node) in plan.nodes.iter().enumerate() {
            let mut puppet = Puppet::new(&format!("n{number}"), 0);
            let offered = RESOURCES.iter().zip(node.has);
            puppet.resources = Some(offered.map(|(name, n)| ((*name).to_owned(), n)).collect());
            puppet.labels = BTreeMap::from([("zone".to_owned(), format!("z{}", node.zone))]);
            puppets.push(puppet);
        }
        Self {
            plan: plan.clone(),
            world: World::new(),
            puppets,
            submitted: Vec::new(),
            waiting: BTreeSet::new(),
            running: Running::new(),
        }
    }

    fn submit(&mut self, job: usize) {
        let of = &self.plan.jobs[job];
        let mut spec = json!({"cpu": of.needs[0], "gpus": of.needs[1]});
        if of.needs[2] > 0 {
            spec["resources"] = json!({"fpgas": of.needs[2]});
        }
        if let Some(zone) = of.zone {
            spec["require"] = json!({"zone": format!("z{zone}")});
        }
        if let Some(only) = of.only {
            spec["nodes"] = json!([format!("n{only}")]);
        }
        if let Some(exclude) = of.exclude {
            spec["exclude"] = json!([format!("n{exclude}")]);
        }
        if of.exclusive {
            spec["exclusive"] = json!(true);
        }
        if let Some(most) = of.max_per_node {
            spec["max_per_node"] = json!(most);
        }
        let count = of.count;
        let list = format!("0-{}", count - 1);
        let ctx = json!({"priority": of.priority});
        self.world.submit_with(&format!("j{job}"), &list, ctx, spec);
        self.submitted.push(job);
        self.waiting.extend((0..count).map(|task| (job, task)));
    }

    /// Higher priority first, then earlier.
    fn rank(&self, job: usize) -> (i64, usize) {
        let place = self.submitted.iter().position(|of| *of == job).unwrap();
        (-self.plan.jobs[job].priority, place)
    }

    fn is_place(&self, job: usize, node: usize) -> bool {
        let (of, at) = (&self.plan.jobs[job], &self.plan.nodes[node]);
        of.zone.is_none_or(|zone| zone == at.zone)
            && of.only.is_none_or(|only| only == node)
            && of.exclude != Some(node)
    }

    fn could_run(&self, job: usize, node: usize) -> bool {
        let (of, at) = (&self.plan.jobs[job], &self.plan.nodes[node]);
        self.is_place(job, node) && of.needs.iter().zip(at.has).all(|(need, has)| *need <= has)
    }

    /// What runs at a node, but for one task.
    fn at(&self, node: usize, but: Option<(usize, u32)>) -> Vec<usize> {
        let there = self.running.iter();
        let there = there.filter(|(task, (at, _))| *at == node && Some(**task) != but);
        there.map(|((job, _), _)| *job).collect()
    }

    /// Whether a task of a job fits a node beside what runs there.
    fn fits(&self, job: usize, node: usize, but: Option<(usize, u32)>) -> bool {
        let of = &self.plan.jobs[job];
        let there = self.at(node, but);
        let used = |resource: usize| -> i64 {
            there
                .iter()
                .map(|job| self.plan.jobs[*job].needs[resource])
                .sum()
        };
        let has_room = (0..3).all(|r| used(r) + of.needs[r] <= self.plan.nodes[node].has[r]);
        let own = there.iter().filter(|other| **other == job).count();
        let is_alone = there.iter().all(|other| !self.plan.jobs[*other].exclusive)
            && (there.is_empty() || !of.exclusive);
        self.is_place(job, node)
            && has_room
            && is_alone
            && of.max_per_node.is_none_or(|most| own < most)
    }

    /// A relay claims; everything that the grants must keep to is checked one by one.
    fn claim(&mut self, node: usize) {
        let mut puppet = self.puppets[node].clone();
        let granted = self.world.take(&mut puppet).grants();
        self.puppets[node] = puppet;
        let mut fresh = Vec::new();
        for (id, attempt, list) in granted {
            let job: usize = id[1..].parse().unwrap();
            for task in tasks(&list) {
                assert!(
                    self.waiting.remove(&(job, task)),
                    "{id}/{task} is not waiting"
                );
                assert!(self.could_run(job, node), "{id} could never run on n{node}");
                self.running.insert((job, task), (node, attempt));
                fresh.push((job, task));
            }
        }
        // Each fits beside all the others: nothing is over-committed, alone is alone.
        for (job, task) in &fresh {
            let own = Some((*job, *task));
            assert!(
                self.fits(*job, node, own),
                "j{job}/{task} does not fit n{node}"
            );
        }
        // Who stands before what was granted, and waits still, does not fit where it was granted,
        // not even without it: else it would have come first. But for whom a node is kept comes
        // before both.
        let kept = self.kept_for(node);
        for (job, task) in &fresh {
            for (other, _) in &self.waiting {
                let is_before = self.rank(*other) < self.rank(*job);
                let fits = self.fits(*other, node, Some((*job, *task)));
                let is_kept = kept.is_some_and(|kept| self.rank(kept) < self.rank(*other));
                assert!(
                    !is_before || !fits || is_kept,
                    "j{other} stands before j{job} and fits n{node}"
                );
            }
        }
    }

    /// The job that the Hub says it keeps a node for.
    fn kept_for(&mut self, node: usize) -> Option<usize> {
        let kept = self.world.node(&format!("n{node}"))["reserved_for"].clone();
        kept.as_str().map(|id| id[1..].parse().unwrap())
    }

    /// Nobody has room for a ready task, but for who is kept for another that stands before it.
    fn check_idle(&mut self) {
        for node in 0..self.puppets.len() {
            let name = self.puppets[node].node.clone();
            let fitting = self.waiting.iter().map(|(job, _)| *job);
            let fitting: BTreeSet<usize> =
                fitting.filter(|job| self.fits(*job, node, None)).collect();
            if fitting.is_empty() {
                continue;
            }
            let Some(kept) = self.kept_for(node) else {
                panic!("{name} has room for {fitting:?} and is not kept for anybody");
            };
            assert!(
                self.waiting.iter().any(|(job, _)| *job == kept),
                "j{kept} waits"
            );
            assert!(self.could_run(kept, node), "j{kept} could run on {name}");
            for job in fitting {
                assert!(
                    self.rank(kept) < self.rank(job),
                    "j{kept} stands before j{job}"
                );
            }
            for at in 0..self.puppets.len() {
                let first = self.kept_for(at);
                let is_kept = first.is_some_and(|first| self.rank(first) < self.rank(kept));
                let fits = self.fits(kept, at, None);
                assert!(!fits || is_kept, "j{kept} fits n{at}, and is not granted");
            }
        }
    }

    fn claim_all(&mut self) {
        // What one claim leaves may be another's.
        for _ in 0..2 {
            for node in 0..self.puppets.len() {
                self.claim(node);
            }
        }
        self.check_idle();
    }

    fn end_one(&mut self, choice: u16) {
        let nth = usize::from(choice) % self.running.len();
        let ((job, task), (node, attempt)) = self.running.iter().nth(nth).unwrap();
        let (job, task, node, attempt) = (*job, *task, *node, *attempt);
        self.running.remove(&(job, task));
        let mut puppet = self.puppets[node].clone();
        let what = (format!("j{job}"), task.to_string());
        // Long tasks: nothing is leased ahead.
        self.world
            .succeeded(&mut puppet, (&what.0, attempt, &what.1), 5_000);
        self.puppets[node] = puppet;
    }

    fn run(&mut self) {
        let mut choices = self.plan.choices.clone().into_iter();
        let mut jobs = 0..self.plan.jobs.len();
        loop {
            let choice = choices.next();
            match choice {
                Some(choice) if choice % 3 == 0 && !self.running.is_empty() => {
                    self.end_one(choice / 3);
                }
                Some(_) => {
                    if let Some(job) = jobs.next() {
                        self.submit(job);
                    }
                }
                None => break,
            }
            self.claim_all();
        }
        for job in jobs {
            self.submit(job);
        }
        self.claim_all();
        while !self.running.is_empty() {
            self.end_one(0);
            self.claim_all();
        }
        let left: Vec<_> = self.waiting.iter().collect();
        for (job, task) in left {
            let runs = (0..self.puppets.len()).any(|node| self.could_run(*job, node));
            assert!(!runs, "j{job}/{task} could run and never did");
        }
    }
}

/// Never over-committed, never idle but for a reservation that is named, always in order.
#[test]
pub fn grants_keep_to_the_books_and_to_the_order() {
    let config = ProptestConfig {
        cases: 300,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    let result = TestRunner::new(config).run(&plans(), |plan| {
        Course::new(&plan).run();
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

/// A large task is not starved by small ones that never cease to come.
#[test]
fn a_large_task_starts_while_small_ones_keep_coming() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 4);
    for number in 0..4 {
        world.submit(&format!("small-{number}"), "0");
    }
    world.take(&mut a);
    world.submit_with("large", "0", json!({}), json!({"cpu": 3}));
    for number in 0..2 {
        world.submit(&format!("small-{}", number + 4), "0");
        world.succeeded(&mut a, (&format!("small-{number}"), 1, "0"), 5_000);
        let granted = world.take(&mut a).grants();
        assert_eq!(granted, [], "nothing takes the room it waits for");
        assert_eq!(world.node("a")["reserved_for"], "large");
        let why = world.job("large")["why"].as_str().unwrap().to_owned();
        assert!(why.starts_with("the next: node a is kept for it"), "{why}");
    }
    world.succeeded(&mut a, ("small-2", 1, "0"), 5_000);
    assert_eq!(world.take(&mut a).grants(), [entry("large", 1, "0")]);
    assert_eq!(world.node("a")["reserved_for"], Value::Null);
}

fn why_at(world: &mut World, job: &str, node: &str) -> String {
    let answer = world.ask("why", &format!("job_id={job}"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let nodes = answer.body["data"]["nodes"].as_array().unwrap().clone();
    let at = nodes.iter().find(|at| at["node_id"] == node).unwrap();
    assert_eq!(at["fits"], Value::Bool(at["why"] == "has room for it"));
    at["why"].as_str().unwrap().to_owned()
}

/// Each node says what it lacks, by how much, and what would help.
#[test]
fn every_node_says_why_a_job_does_not_run_there() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 4), Puppet::new("b", 2));
    a.labels = BTreeMap::from([("zone".to_owned(), "x".to_owned())]);
    world.submit_with("first", "0", json!({}), json!({"cpu": 3}));
    world.take(&mut a);
    world.take(&mut b);
    world.submit_with("wide", "0", json!({}), json!({"cpu": 4}));
    world.submit_with("vast", "0", json!({}), json!({"cpu": 64, "gpus": 1}));
    world.submit_with(
        "in-x",
        "0-9",
        json!({}),
        json!({"require": {"zone": "x"}, "cpu": 2}),
    );
    world.take(&mut a);
    let said = [
        (
            "wide",
            "a",
            "3 of 4 cpus taken, 3 cpus more must become free",
        ),
        (
            "wide",
            "b",
            "offers 2 cpus, it needs 4 cpus: 2 cpus too few",
        ),
        (
            "vast",
            "b",
            "offers 2 cpus, it needs 64 cpus: 62 cpus too few; \
             offers 0 gpus, it needs 1 gpu: 1 gpu too few",
        ),
        ("in-x", "b", "has no label zone=x"),
        (
            "in-x",
            "a",
            "3 of 4 cpus taken, 1 cpu more must become free",
        ),
    ];
    for (job, node, expected) in said {
        assert_eq!(why_at(&mut world, job, node), expected, "{job} at {node}");
    }
    world.ingest("drain", "NodeDrained", json!({"node_id": "b"}), json!({}));
    assert_eq!(
        why_at(&mut world, "wide", "b"),
        "is drained; offers 2 cpus, it needs 4 cpus: 2 cpus too few",
        "undraining it would not help"
    );
}

/// A relay that ends soon is no place for what says how long it needs.
#[test]
fn a_relay_that_ends_soon_gets_no_task_that_needs_longer() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 4);
    a.time_left = Some(600);
    world.submit_with("long", "0", json!({}), json!({"min_time": 1200}));
    world.submit_with("short", "0", json!({}), json!({"min_time": 300}));
    let granted = world.take(&mut a).grants();
    let jobs: Vec<&str> = granted.iter().map(|(job, ..)| job.as_str()).collect();
    assert_eq!(jobs, ["short"]);
    assert_eq!(
        why_at(&mut world, "long", "a"),
        "ends in 10 min, it needs 20 min"
    );
}

/// A further round may ask for more: it is leased and booked by that, what ran before by its own.
#[test]
fn a_further_round_may_ask_for_more() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 2), Puppet::new("b", 4));
        world.submit("j", "0-1");
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0-1")]);
        world.failed(&mut a, ("j", 1, "0"));
        let spec = json!({"resources": {"cpus": 3}});
        let answer = world.ingest("retry", "RetryJob", json!({"job_id": "j"}), spec);
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.node("a")["used"], json!({"cpus": 1}));
        let answer = world.take(&mut b);
        assert_eq!(answer.grants(), [entry("j", 2, "0")]);
        assert_eq!(answer.body["grants"][0]["resources"], json!({"cpus": 3}));
        assert_eq!(world.node("b")["used"], json!({"cpus": 3}));
        world.succeeded(&mut a, ("j", 1, "1"), 5_000);
        world.succeeded(&mut b, ("j", 2, "0"), 5_000);
        assert_eq!(world.node("a")["used"], json!({}));
        assert_eq!(world.node("b")["used"], json!({}));
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// A task that wants a node to itself is told of all that the node has, and has it alone.
#[test]
fn an_exclusive_task_has_the_whole_node() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("small", "0");
        assert_eq!(world.take(&mut a).grants(), [entry("small", 1, "0")]);
        world.submit_with("alone", "0-1", json!({}), json!({"exclusive": true}));
        world.submit("later", "0-9");
        assert_eq!(world.take(&mut a).grants(), [], "kept for the one before");
        world.succeeded(&mut a, ("small", 1, "0"), 5_000);
        let answer = world.take(&mut a);
        assert_eq!(answer.grants(), [entry("alone", 1, "0")]);
        let all = json!({"cpus": 4, "slots": 4});
        assert_eq!(answer.body["grants"][0]["resources"], all);
        assert_eq!(world.take(&mut a).grants(), []);
        world.succeeded(&mut a, ("alone", 1, "0"), 5_000);
        assert_eq!(world.take(&mut a).grants(), [entry("alone", 1, "1")]);
        world.succeeded(&mut a, ("alone", 1, "1"), 5_000);
        assert_eq!(world.take(&mut a).grants(), [entry("later", 1, "0-3")]);
    });
}

/// What a namespace says of resources and places is checked when it registers, what a job says when
/// it is submitted.
#[test]
fn wrong_resources_and_places_are_refused() {
    let mut world = World::new();
    let wrong = [
        ("spec.resources.cpus", json!({"resources": {"cpus": 1}})),
        ("spec.resources.fpgas", json!({"resources": {"fpgas": 0}})),
        ("spec.resources.a b", json!({"resources": {"a b": 1}})),
        ("spec.require", json!({"require": {"zone": 1}})),
        ("spec.nodes", json!({"nodes": ["not an id"]})),
        ("spec.exclude", json!({"exclude": [1]})),
        ("spec.max_per_node", json!({"max_per_node": 0})),
        ("spec.min_time", json!({"min_time": 0})),
    ];
    world.submit("known", "0");
    for (name, hint) in [
        ("cpu", "did you mean `cpus`?"),
        ("memory", "known: cpus, gpus"),
    ] {
        let spec = json!({"resources": {name: 4}});
        let answer = world.ingest("retry", "RetryJob", json!({"job_id": "known"}), spec);
        assert_eq!(answer.status, 422, "{name}");
        assert_eq!(answer.body["errors"][0]["hint"], hint);
    }
    for (field, spec) in wrong {
        let ctx = json!({"ns_id": "batch", "job_id": "j"});
        let answer = world.ingest("wrong", "SubmitJob", ctx, spec);
        assert_eq!(answer.status, 422, "{field}");
        assert_eq!(answer.body["errors"][0]["field"], field);
    }
    let fields = json!([{"key": "n", "expected_type": "Int"}]);
    for (field, more) in [
        ("spec.resources.*", json!({"resources": {"*": "$spec.n"}})),
        (
            "spec.placement.nodes",
            json!({"placement": {"nodes": "$spec.n"}}),
        ),
        (
            "spec.placement.node",
            json!({"placement": {"node": "$spec.n"}}),
        ),
    ] {
        let mut spec = json!({"schema": {"SubmitJob": fields}});
        merge(&mut spec, more);
        let body = json!({"type": "RegisterNamespace", "ns_id": "other", "spec": spec});
        let answer = world.ask("control", "", &body);
        assert_eq!(answer.status, 422, "{field}");
        assert_eq!(answer.body["errors"][0]["field"], field);
    }
}

/// Two rounds of growing memory: what a lease was granted is what the log says of it, and tasks of one
/// attempt number never share a lease of another amount.
#[test]
fn what_a_round_asks_for_is_what_is_granted() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 0);
        a.resources = Some(BTreeMap::from([("cpus".to_owned(), 9)]));
        world.submit("j", "0-1");
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0-1")]);
        world.failed(&mut a, ("j", 1, "0"));
        let ask = |world: &mut World, cpus: i64| {
            let spec = json!({"resources": {"cpus": cpus}});
            let id = format!("retry-{cpus}");
            let answer = world.ingest(&id, "RetryJob", json!({"job_id": "j"}), spec);
            assert_eq!(answer.status, 200, "{}", answer.body);
        };
        ask(world, 2);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "0")]);
        world.failed(&mut a, ("j", 1, "1"));
        ask(world, 4);
        assert_eq!(
            world.take(&mut a).grants(),
            [],
            "its number has a lease of two cpus here"
        );
        let mut b = Puppet::new("b", 4);
        let answer = world.take(&mut b);
        assert_eq!(answer.grants(), [entry("j", 2, "1")]);
        assert_eq!(answer.body["grants"][0]["resources"], json!({"cpus": 4}));
        world.succeeded(&mut a, ("j", 2, "0"), 5_000);
        world.succeeded(&mut b, ("j", 2, "1"), 5_000);
        assert_eq!(world.node("a")["used"], json!({}));
    });
}

/// A reservation is for one task: once that is leased, the next of its job may have another node.
#[test]
fn each_large_task_gets_its_node() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 4), Puppet::new("b", 4));
    for number in 0..8 {
        world.submit(&format!("s{number}"), "0");
    }
    let at_a = world.take(&mut a).grants();
    let at_b = world.take(&mut b).grants();
    assert_eq!((at_a.len(), at_b.len()), (4, 4));
    world.submit_with("big", "0-1", json!({"priority": 5}), json!({"cpu": 4}));
    let mut running = vec![(at_a, &mut a), (at_b, &mut b)];
    let mut started = 0;
    for round in 0..8 {
        for (there, puppet) in &mut running {
            if let Some((job, attempt, tasks)) = there.pop() {
                world.submit(&format!("more-{round}-{}", puppet.node), "0");
                world.succeeded(puppet, (&job, attempt, &tasks), 5_000);
            }
            let granted = world.take(puppet).grants();
            started += granted.iter().filter(|(job, ..)| job == "big").count();
            there.extend(granted.into_iter().filter(|(job, ..)| job != "big"));
        }
    }
    assert_eq!(started, 2, "both, while small tasks never cease to come");
}

/// A job that has on a node all that it may have there takes nothing back from others.
#[test]
fn a_backlog_is_left_where_higher_priority_is_full() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    a.resources = Some(BTreeMap::from([("cpus".to_owned(), 2)]));
    world.submit("short", "0-99");
    world.take(&mut a);
    world.succeeded(&mut a, ("short", 1, "0"), 10);
    let spec = json!({"max_per_node": 1});
    world.submit_with("hi", "0-9", json!({"priority": 10}), spec);
    world.succeeded(&mut a, ("short", 1, "1"), 10);
    let answer = world.take(&mut a);
    let granted: Vec<String> = answer.grants().into_iter().map(|(job, ..)| job).collect();
    assert!(granted.contains(&"hi".to_owned()), "{granted:?}");
    for number in 0..10 {
        world.submit(&format!("later-{number}"), "0");
        let answer = world.claim(&mut a);
        assert_eq!(answer.list("give_back"), [], "nobody waits for it");
    }
}
