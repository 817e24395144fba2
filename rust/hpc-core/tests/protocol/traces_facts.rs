//! Fixed traces: the read routes, the kernel's facts and what the scheduler does are of one mind.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{World, entry, holds_through_restarts};

/// The kernel's row of a job.
fn facts(world: &mut World, table: &str, key: &str) -> Value {
    let query = format!("gid=kernel&cursor=0&table={table}");
    let mut pulled = world.ask("pull", &query, &json!({}));
    pulled.body["facts"][table][key].take()
}

/// A phase never falls, in facts and read routes alike, though the state does.
#[test]
fn the_phase_of_a_job_that_gets_further_tasks_stays() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.succeeded(&mut a, ("j", 1, "0"), 10);
        world.submit("j", "1");
        assert_eq!(world.state("j"), "queued");
        assert_eq!(world.job("j")["phase"], 3);
        assert_eq!(facts(world, "jobs", "j")["phase"], 3);
    });
}

/// A start without a time is a start.
#[test]
fn a_start_without_its_time_is_in_facts_and_read_routes() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.report(&mut a, "JobStarted", ("j", 1, "0"), json!({}));
        assert_eq!(world.job("j")["phase"], 2);
        assert_eq!(facts(world, "jobs", "j")["phase"], 2);
    });
}

/// Of a start that names more than was leased, what was leased is a fact.
#[test]
fn a_start_counts_for_the_tasks_that_were_leased() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-3");
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0-1")]);
        world.started(&mut a, ("j", 1, "0-3"));
        assert_eq!(world.job("j")["counts"]["running"], 2);
        assert_eq!(facts(world, "jobs", "j")["started"], "0-1");
    });
}

/// Submitting again with a greater priority raises it: in facts, in reads, and in the queue.
#[test]
fn a_submit_again_raises_the_priority_whatever_the_order() {
    for order in [[0, 5], [5, 0]] {
        let mut world = World::new();
        world.submit("first", "0");
        for (number, priority) in order.into_iter().enumerate() {
            let tasks = number.to_string();
            let ctx = json!({"priority": priority, "name": format!("name {number}")});
            world.submit_with("j", &tasks, ctx, json!({}));
        }
        assert_eq!(world.job("j")["priority"], 5);
        assert_eq!(facts(&mut world, "jobs", "j")["priority"], 5);
        assert_eq!(world.job("j")["name"], "name 1");
        assert_eq!(facts(&mut world, "jobs", "j")["name"], "name 1");
        let mut a = Puppet::new("a", 1);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0")]);
        world.check_replay();
    }
}

/// Short tasks are not leased ahead to a node that could never run one: it could only refuse them.
#[test]
fn nothing_is_leased_ahead_to_a_node_that_it_does_not_fit() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 4), Puppet::new("b", 2));
        world.submit_with("big", "0-999", json!({}), json!({"cpu": 4}));
        assert_eq!(world.take(&mut a).grants(), [entry("big", 1, "0")]);
        world.succeeded(&mut a, ("big", 1, "0"), 50);
        assert_eq!(world.take(&mut b).grants(), []);
        world.take(&mut a);
        assert_eq!(world.take(&mut b).grants(), []);
        assert_eq!(world.node("b")["used"], json!({}));
    });
}

/// A node's end that nobody can know of is refused from a person, and evidence from a relay.
#[test]
fn the_end_of_an_epoch_that_never_began_is_no_fact() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.take(&mut a);
        let ctx = json!({"node_id": "a", "epoch": 9});
        let lost = world.ingest("lost", "NodeLost", ctx.clone(), json!({}));
        assert_eq!(lost.status, 422, "{}", lost.body);
        assert_eq!(lost.body["errors"][0]["field"], "ctx.epoch");
        let left = world.ingest("left", "NodeLeft", ctx, json!({}));
        assert_eq!(left.status, 200, "R9: {}", left.body);
        assert_eq!(world.node("a")["state"], "up");
        let down = json!({"at": 1, "value": false});
        assert_eq!(facts(world, "nodes", "a")["down"], down);
    });
}

/// What follows from a node's end stands behind the batch, whose receipt is of what was sent.
#[test]
fn what_a_lost_node_leads_to_is_not_part_of_the_batch() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 3);
    world.submit("j", "0-1");
    world.submit("k", "0");
    world.take(&mut a);
    world.claim(&mut a); // names what it holds
    let lost = json!({"kind": "NodeLost", "payload": {"ctx": {"node_id": "a"}, "spec": {}}});
    let ctx = json!({"ns_id": "batch", "job_id": "after"});
    let submit = json!({"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": {}}});
    let answer = world.ask(
        "ingest",
        "",
        &json!({"id": "mixed", "events": [lost, submit]}),
    );
    assert_eq!(answer.body["count"], 2);
    let (row, _) = world.events("NodeLost")[0];
    let [.., (submitted, _)] = world.events("SubmitJob")[..] else {
        panic!("nothing was submitted")
    };
    assert_eq!(submitted, row, "one batch, one row");
    let losses = world.events("AttemptLost");
    assert_eq!(losses.len(), 2);
    assert!(
        losses.iter().all(|(of, _)| *of > row),
        "in a row of the Hub's own"
    );
    world.cancel("j");
    let why = world.job("j")["why"].clone();
    assert!(
        why.is_null(),
        "nothing is ending on a node that is gone: {why}"
    );
    world.check_replay();
}

/// What has ended stays as it ended, whatever comes later.
#[test]
fn a_task_that_succeeded_is_not_returned_later() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.succeeded(&mut a, ("j", 1, "0"), 10);
        world.returned(&mut a, ("j", 1, "0"), "drain");
        let job = world.job("j");
        assert_eq!(job["state"], "succeeded");
        assert_eq!(job["attempts"][0]["state"], "succeeded");
        assert_eq!(job["attempts"].as_array().unwrap().len(), 1);
    });
}

/// The greatest figures that a report may carry can be read back; greater ones are refused.
#[test]
fn figures_stay_numbers() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 4);
    world.submit("j", "0-1");
    world.take(&mut a);
    let bad = [
        json!({"exit_code": 0, "cpu_seconds": [1e308, 1e308]}),
        json!({"exit_code": 0, "cpu_seconds": -1}),
        json!({"exit_code": 0, "started_at": -1}),
        json!({"exit_code": [0, null]}),
    ];
    for (number, spec) in bad.into_iter().enumerate() {
        let id = format!("{}/{}", a.session, 1);
        let report = crate::puppet::report(&a, &id, "JobFinished", ("j", 1, "0-1"), spec);
        let answer = world.ask("ingest", "", &report);
        assert_eq!(answer.status, 422, "{number}: {}", answer.body);
    }
    let most = json!({"exit_code": [0, 7], "cpu_seconds": 1e12, "started_at": i64::MAX,
        "finished_at": 0, "peak_memory_bytes": i64::MAX});
    world.report(&mut a, "JobFinished", ("j", 1, "0-1"), most);
    let job = world.job("j");
    assert_eq!(job["attempts"][0]["cpu_seconds"], 1e12);
    assert_eq!(job["counts"]["succeeded"], 1);
    world.check_replay();
}

/// One value for all tasks is the value of each.
#[test]
fn one_figure_for_many_tasks_is_that_of_each() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 4);
    world.submit("j", "0-3");
    world.take(&mut a);
    let same = json!({"exit_code": 0, "cpu_seconds": 2});
    world.report(&mut a, "JobFinished", ("j", 1, "0-3"), same);
    assert_eq!(world.job("j")["attempts"][0]["cpu_seconds"], 8.0);
}

/// What a claim names is kept for as long as the log, so it is bounded.
#[test]
fn a_claim_that_names_too_much_is_refused() {
    let mut world = World::new();
    let a = Puppet::new("a", 1);
    let mut many = a.body(0.0);
    many["resources"] = (0..65).map(|n| (format!("r{n}"), json!(1))).collect();
    let mut odd = a.body(0.0);
    odd["resources"] = json!({"no id": 1});
    let mut long = a.body(0.0);
    long["place"] = json!("x".repeat(513));
    for (body, field) in [(many, "resources"), (odd, "resources"), (long, "place")] {
        let answer = world.ask("claim", "", &body);
        assert_eq!(answer.status, 422, "{}", answer.body);
        assert_eq!(answer.body["errors"][0]["field"], field);
    }
    assert_eq!(world.events("NodeJoined").len(), 0);
}

/// Jobs that are asked for by their ids come in that order, with the filters of any page; what is not
/// known or was forgotten is missing, and it is no page among others.
#[test]
fn jobs_are_read_by_their_ids() {
    holds_through_restarts(|world| {
        for job in ["one", "two", "three"] {
            world.submit(job, "0");
        }
        world.ingest("end", "CancelJob", json!({"job_id": "two"}), json!({}));
        world.ingest("end-3", "CancelJob", json!({"job_id": "three"}), json!({}));
        world.ingest("gone", "ForgetJob", json!({"job_id": "three"}), json!({}));
        let ids = |world: &mut World, query: &str| {
            let answer = world.ask("jobs", query, &json!({}));
            assert_eq!(answer.status, 200, "{}", answer.body);
            assert_eq!(answer.body["next"], json!(null));
            let rows = answer.body["data"].as_array().unwrap().clone();
            let ids = rows
                .iter()
                .map(|row| row["job_id"].as_str().unwrap().to_owned());
            ids.collect::<Vec<String>>()
        };
        assert_eq!(ids(world, "ids=two,nobody,three,one"), ["two", "one"]);
        assert_eq!(ids(world, "ids=two%2Cone&state=queued"), ["one"]);
        assert_eq!(ids(world, "ids="), [""; 0]);
        let many = vec!["one"; 1001].join(",");
        for (query, field) in [
            ("ids=one&after=two".to_owned(), "after"),
            ("ids=one&limit=1".to_owned(), "limit"),
            (format!("ids={many}"), "ids"),
        ] {
            let refused = world.ask("jobs", &query, &json!({}));
            assert_eq!(refused.status, 400, "{}", refused.body);
            assert_eq!(refused.body["field"], field);
        }
    });
}
