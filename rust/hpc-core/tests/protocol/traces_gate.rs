//! Fixed traces: what keeps tasks from being ready, and what is tried again.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{LEASE, World, entry, holds_through_restarts};

fn after(ids: &[&str]) -> Value {
    json!({"after": ids})
}

fn request(world: &mut World, kind: &str, ctx: Value) {
    let id = format!("{kind}-{}", world.log.len());
    let answer = world.ingest(&id, kind, ctx, json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

fn why(world: &mut World, job: &str) -> String {
    world.job(job)["why"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// P11: a job starts once the jobs that it comes after have succeeded, in the commit of their end.
#[test]
fn a_job_starts_after_those_that_it_comes_after() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("one", "0-1");
        world.submit("two", "0");
        world.submit_with("three", "0-1", after(&["one", "two"]), json!({}));
        assert_eq!(
            world.take(&mut a).grants(),
            [entry("one", 1, "0-1"), entry("two", 1, "0")]
        );
        assert_eq!(world.state("three"), "waiting");
        assert_eq!(
            why(world, "three"),
            "waits for job one (0 of 2 tasks are done), job two"
        );
        world.succeeded(&mut a, ("one", 1, "0-1"), 10);
        assert_eq!(why(world, "three"), "waits for job two");
        world.open(&mut a);
        world.succeeded(&mut a, ("two", 1, "0"), 10);
        assert_eq!(
            world.poll(&mut a).unwrap().grants(),
            [entry("three", 1, "0-1")]
        );
    });
}

/// R6: what waits in vain is settled in the commit that makes it so, and what waits for that as well.
#[test]
pub fn what_can_never_be_met_is_settled_at_once() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("one", "0-1");
        world.submit_with("two", "0-9", after(&["one"]), json!({}));
        world.submit_with("three", "0", after(&["two"]), json!({}));
        world.submit_with("any", "0", json!({"after_any": ["two"]}), json!({}));
        world.submit_with("fail", "0", json!({"after_fail": ["one"]}), json!({}));
        world.take(&mut a);
        world.failed(&mut a, ("one", 1, "0"));
        for job in ["two", "three"] {
            assert_eq!(world.state(job), "cancelled");
            let settled = &world.job(job)["settled"][0];
            assert_eq!(settled["cause"], "dependency");
        }
        assert_eq!(
            world.job("two")["settled"][0]["reason"],
            "job one did not succeed"
        );
        assert_eq!(world.state("fail"), "waiting", "one task of it still runs");
        assert_eq!(world.take(&mut a).grants(), [entry("any", 1, "0")]);
        world.succeeded(&mut a, ("one", 1, "1"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("fail", 1, "0")]);
        // One that is submitted too late for what it comes after is settled at once, too.
        world.submit_with("late", "0", json!({"after": ["two"]}), json!({}));
        assert_eq!(world.state("late"), "cancelled");
        world.submit_with("vain", "0", json!({"after_fail": ["any"]}), json!({}));
        world.succeeded(&mut a, ("any", 1, "0"), 10);
        assert_eq!(world.state("vain"), "cancelled");
        assert_eq!(
            world.job("vain")["settled"][0]["reason"],
            "job any did not fail"
        );
    });
}

/// Element by element: task n comes after task n; one that the other does not have after all of it.
#[test]
fn tasks_come_after_tasks_of_their_number() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 8);
        world.submit("one", "0-3");
        let ctx = json!({"after": ["one"], "after_task": true});
        world.submit_with("two", "0-4", ctx, json!({}));
        world.take(&mut a);
        world.succeeded(&mut a, ("one", 1, "1,3"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("two", 1, "1,3")]);
        world.failed(&mut a, ("one", 1, "0"));
        let job = world.job("two");
        assert_eq!(
            job["settled"],
            json!([{"tasks": "0,4", "state": "cancelled",
            "cause": "dependency", "reason": "job one did not succeed"}])
        );
        world.succeeded(&mut a, ("one", 1, "2"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("two", 1, "2")]);
    });
}

/// Jobs of one batch may name each other in any order; what nobody knows, and circles, are refused.
#[test]
fn unknown_jobs_and_circles_are_refused() {
    let mut world = World::new();
    let job = |id: &str, ids: &[&str]| {
        let ctx = json!({"ns_id": "batch", "job_id": id, "after": ids});
        json!({"kind": "SubmitJob", "payload": {"ctx": ctx, "spec": {}}})
    };
    let mut send =
        |id: &str, events: &[Value]| world.ask("ingest", "", &json!({"id": id, "events": events}));
    let refused = send("b1", &[job("a", &["b"])]);
    assert_eq!(refused.status, 422);
    assert_eq!(refused.body["errors"][0]["field"], "ctx.after");
    assert_eq!(refused.body["errors"][0]["got"], "\"b\"");
    let refused = send(
        "b2",
        &[job("a", &["b"]), job("b", &["c"]), job("c", &["a"])],
    );
    assert_eq!(refused.status, 422);
    let got = refused.body["errors"][0]["got"].as_str().unwrap();
    assert_eq!(got, "b after c after a after b");
    let refused = send("b3", &[job("a", &["a"])]);
    assert_eq!(refused.body["errors"][0]["got"], "a after a");
    let taken = send(
        "b4",
        &[
            job("last", &["first", "middle"]),
            job("middle", &["first"]),
            job("first", &[]),
        ],
    );
    assert_eq!(taken.status, 200, "{}", taken.body);
    let other = send("b5", &[job("last", &["first"])]);
    assert_eq!(
        (other.status, &other.body["field"]),
        (409, &json!("ctx.after"))
    );
    let mut a = Puppet::new("a", 1);
    for id in ["first", "middle", "last"] {
        assert_eq!(world.take(&mut a).grants(), [entry(id, 1, "0")]);
        world.succeeded(&mut a, (id, 1, "0"), 5_000);
    }
}

/// A held task is not granted, one that runs goes on; the word with the greatest stamp holds.
#[test]
fn held_tasks_are_not_granted_until_they_are_released() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("j", "0-3", json!({"hold": true}), json!({}));
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.state("j"), "held");
        assert_eq!(why(world, "j"), "held: hpc job release j");
        request(world, "ReleaseJob", json!({"job_id": "j", "tasks": "1-3"}));
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "1")]);
        assert_eq!(world.job("j")["counts"]["held"], 1);
        request(world, "HoldJob", json!({"job_id": "j"}));
        world.submit_with("j", "4", json!({"hold": true}), json!({}));
        world.succeeded(&mut a, ("j", 1, "1"), 5_000);
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.job("j")["counts"]["held"], 4);
        request(world, "ReleaseJob", json!({"job_id": "j"}));
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0")]);
    });
}

/// A priority that is set later stands above that of the submit, and of a submit that comes again.
#[test]
fn a_priority_that_is_set_reorders_the_queue() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("first", "0");
        world.submit("second", "0-1");
        request(
            world,
            "SetPriority",
            json!({"job_id": "second", "priority": 5}),
        );
        assert_eq!(world.take(&mut a).grants(), [entry("second", 1, "0")]);
        assert_eq!(world.job("second")["priority"], 5);
        request(
            world,
            "SetPriority",
            json!({"job_id": "second", "priority": -5}),
        );
        world.succeeded(&mut a, ("second", 1, "0"), 5_000);
        assert_eq!(world.take(&mut a).grants(), [entry("first", 1, "0")]);
        let facts = world
            .ask("pull", "gid=kernel&cursor=0&table=jobs", &json!({}))
            .body;
        assert_eq!(facts["facts"]["jobs"]["second"]["priority"], -5);
    });
}

/// What is set of some tasks holds for these, and the newest word on a task; the job stands where what is
/// leased next of it belongs.
#[test]
fn priorities_of_some_tasks_order_those() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("first", "0");
        world.submit("second", "0-6");
        let mut set = |tasks: Option<&str>, priority: i64| {
            let mut ctx = json!({"job_id": "second", "priority": priority});
            if let Some(tasks) = tasks {
                ctx["tasks"] = json!(tasks);
            }
            request(world, "SetPriority", ctx);
        };
        set(Some("3-6"), 5);
        set(Some("5"), -1);
        set(Some("6"), 0);
        set(Some("2"), 5);
        let others = json!([
            {"tasks": "2-4", "priority": 5},
            {"tasks": "5", "priority": -1},
        ]);
        assert_eq!(world.job("second")["priorities"], others);
        assert_eq!(world.job("second")["priority"], 0);
        world.submit_with("second", "7", json!({"priority": 1}), json!({}));
        assert_eq!(world.job("second")["priority"], 1);

        let expected = [
            ("second", "2"),
            ("second", "3"),
            ("second", "4"),
            ("second", "0"),
            ("second", "1"),
            ("second", "7"),
            ("first", "0"),
            ("second", "6"),
            ("second", "5"),
        ];
        for (job, task) in expected {
            assert_eq!(world.take(&mut a).grants(), [entry(job, 1, task)]);
            world.succeeded(&mut a, (job, 1, task), 5_000);
        }
        let facts = world
            .ask("pull", "gid=kernel&cursor=0&table=jobs", &json!({}))
            .body;
        let said = json!({"3-6": 5, "5": -1, "6": 0, "2": 5});
        assert_eq!(facts["facts"]["jobs"]["second"]["priorities"], said);
    });
}

/// What is tried again keeps its place, and a word on all tasks takes back what was said of some.
#[test]
fn a_priority_of_a_task_lasts_until_the_job_has_another() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("j", "0-2", json!({}), json!({"retries": 1}));
        world.submit_with("k", "0", json!({"priority": 1}), json!({}));
        let urgent = json!({"job_id": "j", "priority": 2, "tasks": "2"});
        request(world, "SetPriority", urgent);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "2")]);
        world.failed(&mut a, ("j", 1, "2"));
        world.pass(1_100);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "2")]);
        world.failed(&mut a, ("j", 2, "2"));
        request(world, "RetryJob", json!({"job_id": "j"}));
        let priority = json!({"job_id": "j", "priority": 0});
        request(world, "SetPriority", priority);
        assert_eq!(world.job("j")["priorities"], Value::Null);
        for (job, attempt, task) in [("k", 1, "0"), ("j", 1, "0"), ("j", 1, "1"), ("j", 3, "2")] {
            assert_eq!(world.take(&mut a).grants(), [entry(job, attempt, task)]);
            world.succeeded(&mut a, (job, attempt, task), 5_000);
        }
    });
}

/// Words that come in another order than they were said in come to the same.
#[test]
fn priorities_are_those_of_the_newest_words_whatever_the_order() {
    let words: [(Option<&str>, i64); 4] = [
        (Some("0-3"), 4),
        (None, 2),
        (Some("2-5"), 7),
        (Some("3"), 2),
    ];
    let orders = (0..words.len()).flat_map(|first| {
        let rest: Vec<usize> = (0..words.len()).filter(|place| *place != first).collect();
        (0..rest.len()).map(move |turn| {
            let mut order = vec![first];
            order.extend(rest.iter().cycle().skip(turn).take(rest.len()));
            order
        })
    });
    for order in orders {
        let mut world = World::new();
        world.submit("j", "0-7");
        for place in order {
            let (tasks, priority) = words[place];
            let mut ctx = json!({"job_id": "j", "priority": priority});
            if let Some(tasks) = tasks {
                ctx["tasks"] = json!(tasks);
            }
            let payload = json!({"ctx": ctx, "spec": {}});
            let event = json!({"kind": "SetPriority", "at": 1 + place, "payload": payload});
            let batch = json!({"id": format!("word-{place}"), "events": [event]});
            assert_eq!(world.ask("ingest", "", &batch).status, 200);
        }
        assert_eq!(world.job("j")["priority"], 2);
        let others = json!([{"tasks": "2,4-5", "priority": 7}]);
        assert_eq!(world.job("j")["priorities"], others);
        world.check_replay();
    }
}

/// A failure within the budget settles nothing; the task is tried again after its back-off, which
/// doubles; with the budget spent it has failed.
#[test]
fn failures_are_tried_again_after_a_back_off() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit_with("j", "0-1", json!({}), json!({"retries": 2}));
        world.take(&mut a);
        world.failed(&mut a, ("j", 1, "0"));
        world.succeeded(&mut a, ("j", 1, "1"), 10);
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.state("j"), "waiting");
        assert_eq!(
            why(world, "j"),
            "1 task failed and will be tried again in 1 s"
        );
        world.pass(600);
        world.open(&mut a);
        world.pass(401);
        assert_eq!(world.poll(&mut a).unwrap().grants(), [entry("j", 2, "0")]);
        world.failed(&mut a, ("j", 2, "0"));
        world.pass(1_500);
        assert_eq!(world.take(&mut a).grants(), []);
        world.pass(501);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 3, "0")]);
        world.failed(&mut a, ("j", 3, "0"));
        assert_eq!(world.state("j"), "failed");
    });
}

/// Row 46: how long a task waits for its next try is measured by the clock that nobody sets.
#[test]
fn fault_46_a_clock_that_is_set_back_delays_no_retry() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.submit_with("j", "0", json!({}), json!({"retries": 1}));
    world.take(&mut a);
    world.failed(&mut a, ("j", 1, "0"));
    world.set_clock_back(3_600_000);
    world.pass(500);
    assert_eq!(world.take(&mut a).grants(), []);
    world.pass(501);
    assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "0")]);
}

/// Row 47: nor does it count whose clock a relay has: a task waits from when its failure was heard.
#[test]
fn fault_47_a_relay_behind_or_ahead_waits_as_long_as_any() {
    for skew in [-86_400_000, -3_600_000, -2_000, 3_600_000] {
        let mut world = World::new();
        let mut a = Puppet::new("a", 1);
        world.submit_with("j", "0", json!({}), json!({"retries": 1}));
        world.take(&mut a);
        let at = world.now.wall + skew;
        let ctx = json!({"ns_id": "batch", "job_id": "j", "node_id": "a", "tasks": "0",
                         "attempt": 1, "epoch": 1});
        let payload = json!({"ctx": ctx, "spec": {"exit_code": 7}});
        let event = json!({"kind": "JobFinished", "at": at, "payload": payload});
        let told = world.ask("ingest", "", &json!({"id": "s/1", "events": [event]}));
        assert_eq!(told.status, 200, "{}", told.body);
        a.holds.clear();
        world.pass(900);
        assert_eq!(world.take(&mut a).grants(), [], "{skew}");
        world.pass(200);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "0")], "{skew}");
        world.check_replay();
    }
}

/// P5: what must never overlap may run still when it has been cancelled. A further round of it begins
/// when a report says that it has ended, a claim does not hold it, or the fence of its relay has come.
#[test]
fn what_must_never_overlap_is_not_begun_anew_while_it_is_ending() {
    let stop = json!({"on_cut_off": "stop"});
    let again = |world: &mut World, id: &str| {
        let told = world.ingest(id, "RetryJob", json!({"job_id": "j"}), json!({}));
        if told.status == 422 {
            assert_eq!(told.body["errors"][0]["got"], "\"j\", ending on a");
        }
        told.status
    };
    for ends in ["report", "claim", "fence", "lost"] {
        let mut world = World::new();
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit_with("j", "0", json!({}), stop.clone());
        world.take(&mut a);
        world.started(&mut a, ("j", 1, "0"));
        world.cancel("j");
        assert_eq!(again(&mut world, "r1"), 422, "{ends}");
        match ends {
            "report" => world.failed(&mut a, ("j", 1, "0")),
            "claim" => {
                a.max = 0;
                world.open(&mut a);
                assert_eq!(again(&mut world, "r2"), 422);
                a.holds.clear();
                world.open(&mut a);
            }
            _ => {
                if ends == "lost" {
                    let ctx = json!({"node_id": "a", "epoch": 1});
                    world.ingest("lost", "NodeLost", ctx, json!({}));
                    world.kill_hub();
                }
                world.pass(LEASE - 1);
                assert_eq!(again(&mut world, "r2"), 422);
                world.pass(1);
            }
        }
        assert_eq!(again(&mut world, "r3"), 200, "{ends}");
        assert_eq!(world.take(&mut b).grants(), [entry("j", 2, "0")], "{ends}");
    }
    // Cancelled and begun anew by one batch: there is nothing to begin yet.
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
    world.submit_with("j", "0", json!({}), stop);
    world.take(&mut a);
    let about = |kind| json!({"kind": kind, "payload": {"ctx": {"job_id": "j"}, "spec": {}}});
    let both = json!({"events": [about("CancelJob"), about("RetryJob")]});
    assert_eq!(world.ask("ingest", "", &both).status, 200);
    assert_eq!(world.take(&mut b).grants(), []);
}

/// Only what `retry_on` lists is tried again, by cause or by exit code.
#[test]
fn only_listed_causes_are_tried_again() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit_with(
            "no",
            "0",
            json!({}),
            json!({"retries": 3, "retry_on": ["oom", 137]}),
        );
        world.submit_with(
            "yes",
            "0",
            json!({}),
            json!({"retries": 3, "retry_on": [7]}),
        );
        world.take(&mut a);
        world.failed(&mut a, ("no", 1, "0"));
        world.failed(&mut a, ("yes", 1, "0"));
        assert_eq!(world.state("no"), "failed");
        assert_eq!(world.state("yes"), "waiting");
    });
}

/// More failures than a job allows cancel the rest of it, at once and where it runs.
#[test]
fn too_many_failures_cancel_the_rest() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 3);
        world.submit_with("j", "0-9", json!({}), json!({"max_fails": 1}));
        world.take(&mut a);
        world.failed(&mut a, ("j", 1, "0"));
        assert_eq!(world.state("j"), "leased");
        world.failed(&mut a, ("j", 1, "1"));
        let job = world.job("j");
        assert_eq!(job["counts"]["cancelled"], 8);
        assert_eq!(job["settled"][1]["reason"], "too many tasks have failed");
        assert_eq!(world.claim(&mut a).cancels(), [entry("j", 1, "2")]);
    });
}

/// RetryJob begins a further round for what has failed or was cancelled; what the first round came to
/// stays a fact.
#[test]
fn another_round_is_begun_for_what_has_failed() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("j", "0-3");
        world.take(&mut a);
        world.failed(&mut a, ("j", 1, "0-1"));
        world.succeeded(&mut a, ("j", 1, "2-3"), 10);
        request(world, "RetryJob", json!({"job_id": "j", "tasks": "1-2"}));
        assert_eq!(world.state("j"), "queued");
        assert_eq!(world.take(&mut a).grants(), [entry("j", 2, "1")]);
        // An event without an effect: nothing that is named has failed.
        request(world, "RetryJob", json!({"job_id": "j", "tasks": "2"}));
        world.succeeded(&mut a, ("j", 2, "1"), 10);
        request(world, "RetryJob", json!({"job_id": "j"}));
        world.take(&mut a);
        world.failed(&mut a, ("j", 2, "0"));
        let job = world.job("j");
        assert_eq!(
            (&job["counts"]["failed"], &job["counts"]["succeeded"]),
            (&json!(1), &json!(3))
        );
        let facts = world
            .ask("pull", "gid=kernel&cursor=0&table=jobs", &json!({}))
            .body;
        let facts = &facts["facts"]["jobs"]["j"];
        assert_eq!(
            (&facts["failed"], &facts["succeeded"]),
            (&json!("0-1"), &json!("2-3"))
        );
        assert_eq!(
            facts["rounds"],
            json!({"1/tasks": "1", "1/succeeded": "1", "2/tasks": "0", "2/failed": "0"})
        );
    });
}

/// A further round comes after what the first came after: what failed there must be run again too.
#[test]
fn another_round_waits_for_another_round() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("one", "0");
        world.submit_with("two", "0-1", after(&["one"]), json!({}));
        world.submit_with("three", "0", after(&["two"]), json!({}));
        world.take(&mut a);
        world.failed(&mut a, ("one", 1, "0"));
        let retried = |world: &mut World, job: &str, tasks: &str| {
            let ctx = json!({"job_id": job, "tasks": tasks});
            let id = format!("retry-{job}-{tasks}-{}", world.log.len());
            assert_eq!(world.ingest(&id, "RetryJob", ctx, json!({})).status, 200);
        };
        // What it comes after has failed still.
        retried(world, "two", "0-1");
        assert_eq!(world.state("two"), "cancelled");
        for (job, tasks) in [("one", "0"), ("two", "0-1"), ("three", "0")] {
            retried(world, job, tasks);
        }
        assert_eq!(world.take(&mut a).grants(), [entry("one", 2, "0")]);
        assert_eq!(world.state("two"), "waiting");
        world.succeeded(&mut a, ("one", 2, "0"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("two", 1, "0-1")]);
        assert_eq!(world.state("three"), "waiting");
        world.succeeded(&mut a, ("two", 1, "0"), 10);
        world.failed(&mut a, ("two", 1, "1"));
        assert_eq!(world.state("three"), "cancelled");
        // Of two tasks one is retried; the other has come to its end and stays there.
        retried(world, "two", "1");
        retried(world, "three", "0");
        assert_eq!(world.take(&mut a).grants(), [entry("two", 2, "1")]);
        world.succeeded(&mut a, ("two", 2, "1"), 10);
        assert_eq!(world.take(&mut a).grants(), [entry("three", 1, "0")]);
    });
}

/// A throttle bounds how many tasks of a job are leased, over all relays, and stands in nobody's way.
#[test]
fn a_throttle_bounds_what_is_leased() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 4), Puppet::new("b", 4));
        world.submit_with("j", "0-9", json!({}), json!({"throttle": 3}));
        world.submit("other", "0-9");
        assert_eq!(
            world.take(&mut a).grants(),
            [entry("j", 1, "0-2"), entry("other", 1, "0")]
        );
        assert_eq!(world.take(&mut b).grants(), [entry("other", 1, "1-4")]);
        assert_eq!(
            why(world, "j"),
            "3 tasks of it run, and it allows no more at a time"
        );
        world.succeeded(&mut a, ("j", 1, "1"), 5_000);
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "3")]);
    });
}

/// A lost relay's tasks come back behind the same gate.
#[test]
fn what_is_lost_comes_back_held() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
    world.take(&mut a);
    request(&mut world, "HoldJob", json!({"job_id": "j"}));
    world.pass(2 * LEASE);
    assert_eq!(world.state("j"), "held");
    let mut b = Puppet::new("b", 1);
    assert_eq!(world.take(&mut b).grants(), []);
    request(&mut world, "ReleaseJob", json!({"job_id": "j"}));
    assert_eq!(world.take(&mut b).grants(), [entry("j", 2, "0")]);
}
