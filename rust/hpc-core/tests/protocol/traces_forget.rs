//! Traces of jobs that are forgotten: what of them is gone, and what is answered still.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{Answer, LEASE, World, entry, holds_through_restarts};

fn ask(world: &mut World, kind: &str, ctx: Value) -> Answer {
    let id = format!(
        "{kind}-{}-{}",
        ctx["job_id"].as_str().unwrap(),
        world.log.len()
    );
    world.ingest(&id, kind, ctx, json!({}))
}

fn forget(world: &mut World, job: &str) {
    let answer = ask(world, "ForgetJob", json!({"job_id": job}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// Jobs of two tasks: `ok` has succeeded, of `bad` one task has failed, `never` was cancelled.
fn ended(world: &mut World) -> Puppet {
    let mut a = Puppet::new("a", 8);
    for job in ["ok", "bad", "never"] {
        world.submit(job, "0-1");
    }
    world.take(&mut a);
    world.succeeded(&mut a, ("ok", 1, "0-1"), 10);
    world.succeeded(&mut a, ("bad", 1, "0"), 10);
    world.failed(&mut a, ("bad", 1, "1"));
    world.cancel("never");
    a
}

fn kernel(world: &mut World, query: &str) -> Value {
    let answer = world.ask("pull", &format!("gid=kernel&{query}"), &json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.body["facts"].clone()
}

fn code(answer: &Answer) -> (u16, &str) {
    (
        answer.status,
        answer.body["code"].as_str().unwrap_or_default(),
    )
}

#[test]
fn of_a_forgotten_job_its_outcome_is_left() {
    holds_through_restarts(|world| {
        ended(world);
        for (job, outcome) in [
            ("ok", "succeeded"),
            ("bad", "failed"),
            ("never", "cancelled"),
        ] {
            forget(world, job);
            let answer = world.ask("job", &format!("job_id={job}"), &json!({}));
            assert_eq!(code(&answer), (404, "forgotten"));
            assert_eq!(answer.body["outcome"], outcome);
            assert_eq!(answer.body["forgotten_at"], world.now.wall);
            let row = kernel(world, "cursor=0");
            assert_eq!(row["forgotten"][job], json!({"outcome": [outcome]}));
            assert_eq!(row["jobs"][job], Value::Null);
            let query = format!("gid=kernel&table=jobs&key={job}&column=phase");
            assert_eq!(
                code(&world.ask("explain", &query, &json!({}))),
                (404, "forgotten")
            );
        }
        let left = world.ask("jobs", "", &json!({}));
        assert_eq!(left.body["data"], json!([]));
        let page = world.ask("jobs", "after=ok&limit=1", &json!({}));
        assert_eq!((page.status, &page.body["data"]), (200, &json!([])));
    });
}

/// Nothing of it runs again, and nobody else gets its id.
#[test]
fn the_id_of_a_forgotten_job_is_not_free() {
    holds_through_restarts(|world| {
        let mut a = ended(world);
        forget(world, "ok");
        let ctx = |tasks| json!({"ns_id": "batch", "job_id": "ok", "tasks": tasks});
        let again = world.ingest("again", "SubmitJob", ctx("0-1"), json!({}));
        assert_eq!((again.status, &again.body["jobs"]), (200, &json!(["ok"])));
        let part = world.ingest("part", "SubmitJob", ctx("1"), json!({}));
        assert_eq!(part.status, 200, "{}", part.body);
        assert_eq!(world.take(&mut a).grants(), []);
        let other_ns = json!({"ns_id": "slow", "job_id": "ok", "tasks": "0"});
        for (id, ctx, spec, field) in [
            ("spec", ctx("0"), json!({"cpu": 2}), "spec"),
            ("tasks", ctx("0-2"), json!({}), "ctx.tasks"),
            ("ns", other_ns, json!({}), "ctx.ns_id"),
        ] {
            let answer = world.ingest(id, "SubmitJob", ctx, spec);
            assert_eq!(code(&answer), (409, "job_conflict"), "{id}");
            assert_eq!(answer.body["field"], field);
        }
        for kind in ["CancelJob", "HoldJob", "ForgetJob"] {
            assert_eq!(
                ask(world, kind, json!({"job_id": "ok"})).status,
                200,
                "{kind}"
            );
        }
        let retry = ask(world, "RetryJob", json!({"job_id": "ok"}));
        assert_eq!(retry.status, 422, "it cannot run again");
        assert_eq!(kernel(world, "cursor=0")["jobs"]["ok"], Value::Null);
    });
}

/// Who comes after it is answered by what is left: by the whole, and task by task.
#[test]
fn what_comes_after_a_forgotten_job_is_decided_as_before() {
    holds_through_restarts(|world| {
        let mut a = ended(world);
        // One was there before, and waits for another job too.
        let both = json!({"after": ["ok", "open"]});
        world.submit("open", "0");
        world.submit_with("waits", "0", both, json!({}));
        for job in ["ok", "bad", "never"] {
            forget(world, job);
        }
        let after = |field: &str, job: &str| json!({field: [job]});
        let by_task = |field: &str| json!({field: ["bad"], "after_task": true});
        for (id, ctx, expected) in [
            ("a1", after("after", "ok"), "queued"),
            ("a2", after("after", "bad"), "cancelled"),
            ("a3", after("after_any", "never"), "queued"),
            ("a4", after("after_fail", "bad"), "queued"),
            ("a5", after("after_fail", "ok"), "cancelled"),
            ("a6", by_task("after_any"), "queued"),
        ] {
            world.submit_with(id, "0", ctx, json!({}));
            assert_eq!(world.state(id), expected, "{id}");
        }
        world.submit_with("pairs", "0-1", by_task("after"), json!({}));
        let pairs = world.job("pairs");
        assert_eq!(pairs["settled"][0]["tasks"], "1", "{pairs}");
        assert_eq!(pairs["counts"]["queued"], 1);
        assert_eq!(world.state("waits"), "waiting");
        world.take(&mut a);
        world.succeeded(&mut a, ("open", 1, "0"), 10);
        assert_eq!(world.state("waits"), "queued");
        let unknown = world.ingest(
            "unknown",
            "SubmitJob",
            json!({"ns_id": "batch", "job_id": "u", "after": ["who"]}),
            json!({}),
        );
        assert_eq!(unknown.status, 422);
    });
}

/// R9, R21: a report that comes after all is acknowledged and decides nothing; who holds a task of it
/// is told to end it.
#[test]
fn late_reports_on_a_forgotten_job_are_evidence() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        let grants = world.take(&mut a);
        a.hold(&grants);
        world.started(&mut a, ("j", 1, "0-1"));
        world.cancel("j");
        forget(world, "j");
        assert_eq!(world.claim(&mut a).cancels(), [entry("j", 1, "0-1")]);
        let before = kernel(world, "cursor=0");
        world.succeeded(&mut a, ("j", 1, "0"), 10);
        world.failed(&mut a, ("j", 1, "1"));
        assert_eq!(kernel(world, "cursor=0"), before);
        a.holds.clear();
        world.submit("k", "0");
        assert_eq!(world.take(&mut a).grants(), [entry("k", 1, "0")]);
        assert_eq!(world.node("a")["leases"][0]["job_id"], "k");
    });
}

/// E4: a reader who knew the job learns that it is forgotten, by whatever pages.
#[test]
fn readers_learn_what_is_forgotten() {
    let mut world = World::new();
    ended(&mut world);
    let cursor = world.hub.last_seq();
    let known = kernel(&mut world, "cursor=0");
    for job in ["never", "ok"] {
        forget(&mut world, job);
    }
    let since = kernel(&mut world, &format!("cursor={cursor}"));
    assert_eq!(
        since,
        json!({"forgotten": {"never": {"outcome": ["cancelled"]},
                             "ok": {"outcome": ["succeeded"]}}})
    );
    // What a reader does: it overwrites, and drops the rows of what is forgotten.
    let mut joined = known;
    for job in since["forgotten"].as_object().unwrap().keys() {
        joined["jobs"].as_object_mut().unwrap().remove(job);
    }
    joined["forgotten"] = since["forgotten"].clone();
    assert_eq!(joined, kernel(&mut world, "cursor=0"));
    // So does who follows the table of jobs alone.
    let query = format!("cursor={cursor}&table=jobs");
    assert_eq!(kernel(&mut world, &query), since);
    let nodes = kernel(&mut world, "cursor=0&table=nodes");
    assert_eq!(nodes["forgotten"], Value::Null);
    let page = world.ask(
        "pull",
        &format!("gid=kernel&cursor={cursor}&limit=1"),
        &json!({}),
    );
    assert_eq!(
        (
            &page.body["more"],
            page.body["facts"]["forgotten"].as_object().unwrap().len()
        ),
        (&json!(true), 1)
    );
}

/// Lets halves of a lease pass, in each of which a relay claims; it takes nothing.
fn quiet(world: &mut World, a: &mut Puppet, halves: usize) {
    for _ in 0..halves {
        world.pass(LEASE / 2);
        let max = std::mem::take(&mut a.max);
        world.claim(a);
        a.max = max;
    }
}

/// By age it is the Hub that says so, as an event: no earlier, in the turn that it asks for, a bounded
/// number at a time, and what runs again is not old.
#[test]
fn jobs_are_forgotten_for_their_age() {
    let mut world = World::new();
    let mut a = ended(&mut world);
    world.hub.keep_jobs(Some(10 * LEASE));
    world.hub.start(world.now);
    let forgotten = |world: &World| world.hub.state().jobs.forgotten_len();
    quiet(&mut world, &mut a, 18);
    let retry = ask(&mut world, "RetryJob", json!({"job_id": "bad"}));
    assert_eq!(retry.status, 200, "{}", retry.body);
    assert_eq!(forgotten(&world), 0);
    quiet(&mut world, &mut a, 2);
    world.pass(1);
    assert_eq!(forgotten(&world), 2);
    world.take(&mut a);
    world.succeeded(&mut a, ("bad", 2, "1"), 10);
    assert_eq!(world.state("bad"), "succeeded");
    quiet(&mut world, &mut a, 18);
    assert_eq!(forgotten(&world), 2);
    quiet(&mut world, &mut a, 2);
    world.pass(1);
    assert_eq!(forgotten(&world), 3);
    let said = world.events("ForgetJob");
    assert_eq!(said.len(), 3);
    assert_eq!(said[0].1["payload"]["spec"]["reason"], "ended too long ago");
    world.check_replay();
}

/// Row 46: what is forgotten is gone for good, so a clock that jumps ahead is believed only once that
/// has stood for a day, in a run and over a start; by less than a day at once.
#[test]
fn fault_46_a_clock_that_jumps_ahead_forgets_nothing_for_a_day() {
    const DAY: i64 = 86_400_000;
    for over_a_start in [false, true] {
        let mut world = World::new();
        ended(&mut world);
        world.hub.keep_jobs(Some(90 * DAY));
        world.hub.start(world.now);
        let forgotten = |world: &World| world.hub.state().jobs.forgotten_len();
        let ahead = |world: &World| world.hub.clone().ahead_ms(world.now);
        world.set_clock_back(-100 * DAY);
        if over_a_start {
            world.hub.start(world.now);
        }
        world.step();
        world.freeze(120_000);
        assert_eq!(ahead(&world), 100 * DAY);
        world.freeze(DAY - 240_000);
        world.step();
        assert_eq!(forgotten(&world), 0);
        // Set right again, and wrong again: a day counts from the newest jump.
        world.set_clock_back(100 * DAY);
        world.step();
        assert_eq!(ahead(&world), 0);
        world.set_clock_back(-100 * DAY);
        world.step();
        world.freeze(DAY - 1);
        world.step();
        assert_eq!(forgotten(&world), 0);
        world.freeze(2);
        world.step();
        assert_eq!(ahead(&world), 0);
        assert_eq!(forgotten(&world), 3);
    }
}

#[test]
fn many_old_jobs_are_forgotten_over_several_turns() {
    let mut world = World::new();
    let jobs = 1_200;
    let submit = |n: usize| json!({"kind": "SubmitJob", "payload": {"ctx": {"ns_id": "batch", "job_id": format!("j{n}")}, "spec": {}}});
    let cancel = |n: usize| json!({"kind": "CancelJob", "payload": {"ctx": {"job_id": format!("j{n}")}, "spec": {}}});
    for (id, events) in [
        ("submits", (0..jobs).map(submit).collect::<Vec<_>>()),
        ("cancels", (0..jobs).map(cancel).collect()),
    ] {
        let answer = world.ask("ingest", "", &json!({"id": id, "events": events}));
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
    world.hub.keep_jobs(Some(1_000));
    world.hub.start(world.now);
    world.set_time(world.now.mono + 2_000);
    let mut turns = Vec::new();
    while world.hub.state().jobs.forgotten_len() < jobs {
        let before = world.hub.state().jobs.forgotten_len();
        world.step();
        turns.push(world.hub.state().jobs.forgotten_len() - before);
        let is_due = world.wake() == Some(world.now.mono);
        assert_eq!(is_due, world.hub.state().jobs.forgotten_len() < jobs - 500);
    }
    assert_eq!(turns, [500, 500, 200]);
    world.check_replay();
    assert_eq!(world.hub.state().kernel.facts().rows(), jobs);
}

/// Other entries are another job, also where only a digest of them is left.
#[test]
fn the_entries_of_a_forgotten_job_are_told_apart() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        let ctx = |tasks, entries| json!({"ns_id": "batch", "job_id": "e", "tasks": tasks, "entries": entries});
        let submit = |world: &mut World, id: &str, ctx| {
            let answer = world.ingest(id, "SubmitJob", ctx, json!({}));
            (answer.status, answer.body["field"].clone())
        };
        assert_eq!(
            submit(world, "first", ctx("0-1", json!(["x", {"y": 1}]))).0,
            200
        );
        world.take(&mut a);
        world.succeeded(&mut a, ("e", 1, "0-1"), 5_000);
        forget(world, "e");
        assert_eq!(
            submit(world, "again", ctx("0-1", json!(["x", {"y": 1}]))).0,
            200
        );
        let refused = (409, json!("ctx.entries"));
        assert_eq!(
            submit(world, "other", ctx("0-1", json!(["x", "y"]))),
            refused
        );
        assert_eq!(submit(world, "part", ctx("0", json!(["x"]))), refused);
    });
}

/// A job gets old from when its end is known: whoever ends it may have a clock that is behind, or a
/// relay have been cut off for long.
#[test]
fn fault_47_what_a_clock_behind_has_ended_is_not_old() {
    const DAY: i64 = 86_400_000;
    for over_a_start in [false, true] {
        let mut world = World::new();
        world.hub.keep_jobs(Some(30 * DAY));
        world.hub.start(world.now);
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        let at = world.now.wall - 40 * DAY;
        let ctx = json!({"ns_id": "batch", "job_id": "j", "node_id": "a", "tasks": "0",
                         "attempt": 1, "epoch": 1});
        let payload = json!({"ctx": ctx, "spec": {"exit_code": 0}});
        let event = json!({"kind": "JobFinished", "at": at, "payload": payload});
        world.submit("k", "0");
        let about = json!({"ctx": {"job_id": "k"}, "spec": {}});
        let cancel = json!({"kind": "CancelJob", "at": at, "payload": about});
        let told = world.ask(
            "ingest",
            "",
            &json!({"id": "s/1", "events": [event, cancel]}),
        );
        assert_eq!(told.status, 200, "{}", told.body);
        a.holds.clear();
        if over_a_start {
            world.hub.start(world.now);
        }
        quiet(&mut world, &mut a, 200);
        assert_eq!(world.hub.state().jobs.forgotten_len(), 0);
        world.freeze(30 * DAY + 1);
        world.step();
        assert_eq!(world.hub.state().jobs.forgotten_len(), 2);
        world.check_replay();
    }
}
