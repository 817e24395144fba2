//! Fixed traces: the cause that is named for a job that waits is the one that holds, and what is shown
//! as taken of a node is what runs there.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{LEASE, World, entry, holds_through_restarts};

fn why(world: &mut World, job: &str) -> String {
    world.job(job)["why"].as_str().unwrap().to_owned()
}

fn why_at(world: &mut World, job: &str, node: &str) -> String {
    let answer = world.ask("why", &format!("job_id={job}"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    let nodes = answer.body["data"]["nodes"].as_array().unwrap().clone();
    let at = nodes.iter().find(|at| at["node_id"] == node).unwrap();
    at["why"].as_str().unwrap().to_owned()
}

/// A relay with a label and some gpus.
fn with_gpus(node: &str, zone: &str, gpus: i64) -> Puppet {
    let mut puppet = Puppet::new(node, 2);
    puppet.resources = Some(BTreeMap::from([
        ("cpus".to_owned(), 2),
        ("gpus".to_owned(), gpus),
    ]));
    puppet.labels = BTreeMap::from([("zone".to_owned(), zone.to_owned())]);
    puppet
}

/// That no relay has a resource is said only where none has it: else which has it, and why not there.
#[test]
fn who_has_the_resource_and_is_no_place_is_named() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (with_gpus("a", "x", 0), with_gpus("b", "y", 2));
        world.take(&mut a);
        world.take(&mut b);
        let two = |more: Value| {
            let mut spec = json!({"gpus": 2});
            crate::world::merge(&mut spec, more);
            spec
        };
        let could = "needs 2 gpus, no relay that could take it has any";
        let said = [
            (
                "zone",
                two(json!({"require": {"zone": "x"}})),
                format!("{could}; b has enough, but has zone=y, not zone=x"),
            ),
            (
                "node",
                two(json!({"nodes": ["a"]})),
                format!("{could}; b has enough, but is none of the nodes that it names"),
            ),
            (
                "not-b",
                two(json!({"exclude": ["b"]})),
                format!("{could}; b has enough, but is excluded by it"),
            ),
            (
                "none",
                json!({"gpus": 3, "exclude": ["b"]}),
                "needs 3 gpus, no relay that could take it has any".to_owned(),
            ),
            (
                "wide",
                json!({"cpu": 4, "exclude": ["b"]}),
                "needs 4 cpus, the largest relay has 2".to_owned(),
            ),
        ];
        for (job, spec, expected) in said {
            world.submit_with(job, "0", json!({}), spec);
            assert_eq!(why(world, job), expected);
        }
        assert_eq!(
            why_at(world, "none", "b"),
            "is excluded by it; offers 2 gpus, it needs 3 gpus: 1 gpu too few"
        );
    });
}

/// A node that has left is named where the job names no other, whatever else it lacks.
#[test]
fn a_node_that_has_left_is_named_where_it_is_the_only_one_named() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (with_gpus("a", "x", 0), with_gpus("b", "y", 2));
        world.take(&mut a);
        world.take(&mut b);
        world.ingest(
            "left",
            "NodeLeft",
            json!({"node_id": "b", "epoch": 1}),
            json!({}),
        );
        let only_b = json!({"nodes": ["b"]});
        let zone_too = json!({"nodes": ["b"], "require": {"zone": "z"}});
        for (job, spec) in [("node", only_b), ("zone", zone_too)] {
            world.submit_with(job, "0", json!({}), spec);
            assert_eq!(why(world, job), "no relay is a place for it: b has left");
        }
    });
}

/// A drained node counts among those that a job might run on, and undraining it is named where that
/// alone helps.
#[test]
fn a_drained_node_is_named_where_it_is_the_cause() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (with_gpus("a", "x", 0), with_gpus("b", "y", 2));
        world.take(&mut a);
        world.take(&mut b);
        world.ingest("drain", "NodeDrained", json!({"node_id": "b"}), json!({}));
        let said = [
            (
                "gpus",
                json!({"gpus": 1}),
                "needs 1 gpu, no relay that could take it has any; b has enough, but is drained",
            ),
            (
                "zone",
                json!({"require": {"zone": "y"}}),
                "no relay is a place for it: b is drained, a has zone=x, not zone=y",
            ),
            (
                "node",
                json!({"nodes": ["b"]}),
                "no relay is a place for it: b is drained",
            ),
            (
                "nodes",
                json!({"nodes": ["b", "c"]}),
                "no relay is a place for it: b is drained, c is not there",
            ),
        ];
        for (job, spec, expected) in said {
            world.submit_with(job, "0", json!({}), spec);
            assert_eq!(why(world, job), expected);
        }
        assert_eq!(why_at(world, "gpus", "b"), "is drained: hpc node undrain b");
        world.submit_with("more", "0", json!({}), json!({"gpus": 3}));
        assert_eq!(
            why(world, "more"),
            "needs 3 gpus, no relay that could take it has any",
            "b has some"
        );
        assert_eq!(
            why_at(world, "more", "b"),
            "is drained; offers 2 gpus, it needs 3 gpus: 1 gpu too few",
            "undraining it would not help"
        );
    });
}

/// A node that is not heard of is named where it would be a place.
#[test]
fn a_node_that_is_away_is_named_where_it_is_the_cause() {
    let mut world = World::new();
    let (mut a, mut b) = (with_gpus("a", "x", 0), with_gpus("b", "y", 2));
    world.take(&mut b);
    for _ in 0..3 {
        world.take(&mut a);
        world.pass(LEASE / 2);
    }
    assert_eq!(world.node("b")["state"], "unreachable");
    let gone_at = world.node("b")["gone_at"].as_i64().unwrap();
    assert!(gone_at <= world.now.wall && gone_at > world.now.wall - LEASE);
    world.submit_with("gpus", "0", json!({}), json!({"gpus": 1}));
    assert_eq!(
        why(&mut world, "gpus"),
        "needs 1 gpu, no relay that could take it has any; b has enough, but is unreachable"
    );
    let said_of = |world: &mut World| {
        let answer = world.ask("why", "job_id=gpus", &json!({}));
        let nodes = answer.body["data"]["nodes"].as_array().unwrap().clone();
        let ids = nodes.iter().map(|node| node["node_id"].clone());
        ids.collect::<Vec<Value>>()
    };
    assert_eq!(said_of(&mut world), ["b", "a"]);
    world.now.wall += 86_400_001;
    world.take(&mut a);
    assert_eq!(
        said_of(&mut world),
        ["a"],
        "of a node that is long gone nothing is said"
    );
    let mut again = b.restarted();
    world.take(&mut again);
    assert_eq!(world.node("b")["gone_at"], Value::Null);
}

/// What waits for its own tasks to end is behind nobody.
#[test]
fn what_is_full_by_its_own_limit_is_behind_nobody() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        let one = json!({"max_per_node": 1});
        world.submit_with("own", "0-4", json!({}), one);
        world.submit("first", "0-4");
        let priority = json!({"priority": 1});
        world.submit_with("urgent", "0-4", priority, json!({}));
        assert_eq!(world.take(&mut a).grants(), [entry("urgent", 1, "0-1")]);
        assert_eq!(why(world, "own"), "behind 3 tasks of higher priority");
        world.succeeded(&mut a, ("urgent", 1, "0-1"), 5_000);
        world.ingest("end", "CancelJob", json!({"job_id": "urgent"}), json!({}));
        let granted = [entry("first", 1, "0"), entry("own", 1, "0")];
        let mut found = world.take(&mut a).grants();
        found.sort();
        assert_eq!(found, granted);
        world.submit_with("later", "0-4", json!({"priority": 1}), json!({}));
        assert_eq!(
            why(world, "own"),
            "1 task of it runs on each node that could, and it allows no more there"
        );
    });
}

/// A relay that was told to end takes nothing, is shown so, and is nobody's place; the next start of
/// it is as if it had not been.
#[test]
fn a_relay_that_was_told_to_end_is_shown_as_draining() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 2);
    world.submit("runs", "0");
    world.take(&mut a);
    assert_eq!(world.node("a")["draining"], false);
    (a.leaving, a.max) = (true, 0);
    world.take(&mut a);
    let node = world.node("a");
    assert_eq!(
        (&node["state"], &node["draining"], &node["drained"]),
        (&json!("up"), &json!(true), &json!(false))
    );
    world.submit("waits", "0");
    assert_eq!(
        why(&mut world, "waits"),
        "every relay of `batch` is draining, as it was told to end"
    );
    assert_eq!(
        why_at(&mut world, "waits", "a"),
        "is draining, as its relay was told to end"
    );
    let mut b = Puppet::new("b", 1);
    b.max = 0;
    world.take(&mut b);
    world.ingest("drain", "NodeDrained", json!({"node_id": "b"}), json!({}));
    assert_eq!(
        why(&mut world, "waits"),
        "every relay of `batch` is drained, or was told to end"
    );
    let mut again = a.restarted();
    (again.leaving, again.max) = (false, 64);
    assert_eq!(world.take(&mut again).grants().len(), 2);
    assert_eq!(world.node("a")["draining"], false);
}

/// No node that is about to go is kept for a large task.
#[test]
fn no_node_that_goes_is_kept_for_a_task() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 2);
    world.submit("small", "0");
    world.take(&mut a);
    world.submit_with("large", "0", json!({}), json!({"cpu": 2}));
    world.submit("later", "0");
    world.take(&mut a);
    assert_eq!(world.node("a")["reserved_for"], "large");
    (a.leaving, a.max) = (true, 0);
    world.take(&mut a);
    assert_eq!(world.node("a")["reserved_for"], Value::Null);
}

/// What is leased ahead is no use of the node: what runs is, and what else fits beside it.
#[test]
fn what_is_leased_ahead_is_shown_apart() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("short", "0-999");
        world.take(&mut a);
        let shown = |world: &mut World| {
            let node = world.node("a");
            (node["used"].clone(), node["ahead"].clone())
        };
        assert_eq!(shown(world), (json!({"cpus": 1}), json!(0)));
        world.succeeded(&mut a, ("short", 1, "0"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-11")]);
        assert_eq!(shown(world), (json!({"cpus": 1}), json!(10)));
        world.started(&mut a, ("short", 1, "1"));
        assert_eq!(shown(world), (json!({"cpus": 1}), json!(10)));
        world.succeeded(&mut a, ("short", 1, "1-10"), 10);
        assert_eq!(shown(world), (json!({"cpus": 1}), json!(0)));
        world.succeeded(&mut a, ("short", 1, "11"), 10);
        assert_eq!(shown(world), (json!({}), json!(0)));
    });
}

/// A task that has its node to itself uses all of it.
#[test]
fn an_exclusive_task_uses_the_whole_node() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit_with("alone", "0", json!({}), json!({"exclusive": true}));
        world.take(&mut a);
        assert_eq!(world.node("a")["used"], world.node("a")["resources"]);
        world.succeeded(&mut a, ("alone", 1, "0"), 5_000);
        assert_eq!(world.node("a")["used"], json!({}));
    });
}

/// Where undraining all relays would not help, what they lack comes first.
#[test]
fn what_no_drained_relay_could_run_says_what_they_lack() {
    holds_through_restarts(|world| {
        let mut a = with_gpus("a", "x", 1);
        world.take(&mut a);
        world.ingest("drain", "NodeDrained", json!({"node_id": "a"}), json!({}));
        let said = [
            ("fits", 1, "every relay of `batch` is drained"),
            (
                "wide",
                2,
                "needs 2 gpus, the largest relay has 1; and every relay of `batch` is drained",
            ),
        ];
        for (job, gpus, expected) in said {
            world.submit_with(job, "0", json!({}), json!({"gpus": gpus}));
            assert_eq!(why(world, job), expected);
        }
    });
}

/// What no node could run stands before nobody, and nobody before it.
#[test]
fn what_can_never_run_is_not_counted_as_ahead() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("wide", "0-9", json!({"priority": 9}), json!({"cpu": 64}));
        world.submit("first", "0-2");
        world.take(&mut a);
        world.submit("later", "0");
        assert_eq!(why(world, "later"), "behind 2 tasks submitted earlier");
        let ahead_of = |world: &mut World, job: &str| {
            let answer = world.ask("why", &format!("job_id={job}"), &json!({}));
            answer.body["data"]["ahead"].clone()
        };
        assert_eq!(
            ahead_of(world, "later"),
            json!({"higher": 0, "earlier": 2, "more": false})
        );
        assert_eq!(ahead_of(world, "wide"), Value::Null);
    });
}

/// One of something is said as one, and memory and times in the units that people read.
#[test]
fn amounts_are_said_as_people_say_them() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 2);
    a.resources = Some(BTreeMap::from([
        ("cpus".to_owned(), 2),
        ("licences".to_owned(), 1),
        ("memory_mib".to_owned(), 4096),
    ]));
    a.time_left = Some(2_996);
    world.take(&mut a);
    let said = [
        (
            "licences",
            json!({"resources": {"licences": 2}}),
            "offers 1 licence, it needs 2 licences: 1 licence too few",
        ),
        (
            "memory",
            json!({"resources": {"memory_mib": 6144}}),
            "offers 4 GiB of memory, it needs 6 GiB of memory: 2 GiB of memory too few",
        ),
        (
            "time",
            json!({"min_time": 5_400.0}),
            "ends in 49 min 56 s, it needs 1 h 30 min",
        ),
    ];
    for (job, spec, expected) in said {
        world.submit_with(job, "0", json!({}), spec);
        assert_eq!(why_at(&mut world, job, "a"), expected);
    }
    world.submit_with(
        "close",
        "0",
        json!({}),
        json!({"resources": {"memory_mib": 4097}}),
    );
    assert_eq!(
        why(&mut world, "close"),
        "needs 4 GiB of memory, the largest relay has 1 MiB less"
    );
    world.submit_with("one", "0-1", json!({}), json!({"throttle": 1}));
    world.take(&mut a);
    assert_eq!(
        why(&mut world, "one"),
        "1 task of it runs, and it allows no more at a time"
    );
}

/// Taken is what runs, in each answer alike; what is leased ahead is said apart.
#[test]
fn what_is_leased_ahead_is_not_said_to_be_taken() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 2);
    let slow = json!({"cpu": 1});
    world.submit_with("short", "0-99", json!({}), slow);
    world.take(&mut a);
    world.succeeded(&mut a, ("short", 1, "0-1"), 50);
    world.take(&mut a);
    world.started(&mut a, ("short", 1, "2"));
    world.submit_with("wide", "0", json!({}), json!({"cpu": 2}));
    let ahead = world.node("a")["ahead"].as_u64().unwrap();
    assert!(ahead > 0);
    assert_eq!(
        why_at(&mut world, "wide", "a"),
        format!("2 of 2 cpus taken, 2 cpus more must become free; {ahead} tasks are leased ahead")
    );
    world.submit_with("alone", "0", json!({}), json!({"exclusive": true}));
    assert_eq!(
        why_at(&mut world, "alone", "a"),
        "runs tasks of 1 job, and it wants the node to itself"
    );
}

/// Of a relay that is silent it is said since when, also before its lease is over; a drain of one that
/// is gone is not forgotten.
#[test]
fn of_a_silent_relay_it_is_said_when_it_was_last_heard() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 2);
    world.take(&mut a);
    world.submit_with("runs", "0", json!({}), json!({}));
    assert_eq!(why_at(&mut world, "runs", "a"), "has room for it");
    world.now.mono += LEASE * 3 / 4;
    assert_eq!(
        why_at(&mut world, "runs", "a"),
        "has room for it; last heard 1 s ago"
    );
    world.ingest("drain", "NodeDrained", json!({"node_id": "a"}), json!({}));
    for _ in 0..8 {
        world.pass(LEASE / 4);
    }
    assert_eq!(world.node("a")["state"], "unreachable");
    let said = why_at(&mut world, "runs", "a");
    assert!(
        said.starts_with("is unreachable, and drained, last heard "),
        "{said}"
    );
}
