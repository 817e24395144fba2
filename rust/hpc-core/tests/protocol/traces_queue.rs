//! Fixed traces: who gets which task.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{LEASE, World, entry, holds_through_restarts};

fn priority(n: i64) -> Value {
    json!({"priority": n})
}

fn cpus(n: u64) -> Value {
    json!({"cpu": n})
}

/// Higher priority first, then earlier submits; within a job lower tasks first.
#[test]
fn tasks_are_granted_by_priority_then_by_order() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 3);
        world.submit_with("late", "0-1", priority(-1), json!({}));
        world.submit_with("first", "0-1", json!({}), json!({}));
        world.submit_with("second", "0", json!({}), json!({}));
        world.submit_with("urgent", "0", priority(5), json!({}));
        let grants = world.take(&mut a).grants();
        assert_eq!(grants, [entry("urgent", 1, "0"), entry("first", 1, "0-1")]);
        assert_eq!(world.job("late")["why"], "behind 1 task of higher priority");
        world.succeeded(&mut a, ("first", 1, "0-1"), 5_000);
        let grants = world.take(&mut a).grants();
        assert_eq!(grants, [entry("second", 1, "0"), entry("late", 1, "0")]);
    });
}

/// Of jobs that wait the next of each request is whole, the others are bytes; all are given
/// in their order, and read, as if they were not.
#[test]
fn jobs_that_wait_are_bytes_until_it_is_their_turn() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        let jobs: Vec<String> = (0..9).map(|n| format!("job-{n}")).collect();
        for (n, job) in (1_u64..).zip(&jobs) {
            world.submit_with(job, "0", json!({"name": format!("n{n}")}), cpus(1 + n % 2));
        }
        for (done, job) in jobs.iter().enumerate() {
            let whole = world.hub.state().jobs.whole().count();
            assert!(whole <= 2, "{whole} are whole with {done} done");
            for job in jobs.iter().skip(done) {
                assert_eq!(world.job(job)["state"], "queued");
            }
            a.max = 1;
            let grants = world.take(&mut a).grants();
            assert_eq!(grants, [entry(job, 1, "0")]);
            world.succeeded(&mut a, (job, 1, "0"), 5_000);
        }
        assert_eq!(world.hub.state().jobs.whole().count(), 0, "all are over");
    });
}

/// A job that waits and is spoken to is what it was, and what was said.
#[test]
fn what_is_said_of_a_job_that_waits_finds_it() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        for job in ["first", "second", "third"] {
            world.submit_with(job, "0-1", json!({"name": job}), json!({}));
        }
        world.submit_with("third", "2", json!({}), json!({}));
        let priority = json!({"job_id": "third", "priority": 3});
        for (kind, ctx) in [
            ("SetPriority", priority),
            ("CancelJob", json!({"job_id": "first"})),
        ] {
            assert_eq!(world.ingest(kind, kind, ctx, json!({})).status, 200);
        }
        assert_eq!(world.job("third")["tasks"], "0-2");
        assert_eq!(world.job("third")["name"], "third");
        assert_eq!(world.job("first")["state"], "cancelled");
        assert_eq!(world.take(&mut a).grants(), [entry("third", 1, "0")]);
    });
}

/// What does not fit does not hold up what does.
#[test]
fn a_task_that_fits_nowhere_stands_in_nobodys_way() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit_with("big", "0", priority(9), cpus(64));
        world.submit("small", "0-3");
        assert_eq!(world.take(&mut a).grants(), [entry("small", 1, "0-1")]);
        let why = world.job("big")["why"].as_str().unwrap().to_owned();
        assert!(
            why.starts_with("needs 64 cpus, the largest relay has 2"),
            "{why}"
        );
    });
}

/// Never over-committed: what is leased fits, whoever asks how often, and what ends makes room.
#[test]
fn leases_never_exceed_what_is_offered() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 5), Puppet::new("b", 1));
        world.submit_with("two", "0-9", json!({}), cpus(2));
        world.submit_with("one", "0-9", json!({}), cpus(1));
        assert_eq!(
            world.take(&mut a).grants(),
            [entry("two", 1, "0-1"), entry("one", 1, "0")]
        );
        assert_eq!(world.node("a")["used"], json!({"cpus": 5}));
        assert_eq!(world.take(&mut b).grants(), [entry("one", 1, "1")]);
        for puppet in [&mut a, &mut b] {
            assert_eq!(world.take(puppet).grants(), []);
        }
        world.succeeded(&mut a, ("one", 1, "0"), 5_000);
        assert_eq!(world.take(&mut a).grants(), [entry("one", 1, "2")]);
    });
}

/// A claim gets at most as many tasks as it asks for; what needs nothing is bounded by that alone.
#[test]
fn a_claim_gets_at_most_what_it_asks_for() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("free", "0-99", json!({}), cpus(0));
        a.max = 7;
        assert_eq!(world.take(&mut a).grants(), [entry("free", 1, "0-6")]);
        a.max = 0;
        assert_eq!(world.take(&mut a).grants(), []);
        a.max = 100_000;
        assert_eq!(world.take(&mut a).grants(), [entry("free", 1, "7-99")]);
    });
}

/// A relay gets tasks of the namespaces that it serves.
#[test]
fn a_relay_gets_tasks_of_its_namespaces_only() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 4), Puppet::new("b", 4));
        b.namespaces = vec!["slow"];
        world.submit("fast", "0");
        let ctx = json!({"ns_id": "slow", "job_id": "slow", "tasks": "0"});
        world.ingest("slow", "SubmitJob", ctx, json!({}));
        assert_eq!(world.take(&mut b).grants(), [entry("slow", 1, "0")]);
        assert_eq!(world.take(&mut a).grants(), [entry("fast", 1, "0")]);
    });
}

/// Lets the Hub learn that tasks of job `short` take 10 ms, on a relay of one cpu.
fn teach(world: &mut World, a: &mut Puppet) {
    world.submit("short", "0-999");
    assert_eq!(world.take(a).grants(), [entry("short", 1, "0")]);
    world.succeeded(a, ("short", 1, "0"), 10);
}

/// R4: some 100 ms of short tasks are leased ahead, so that a relay need not wait for a commit
/// between two of them; none of long ones.
#[test]
fn short_tasks_are_leased_ahead() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        teach(world, &mut a);
        assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-11")]);
        assert_eq!(world.take(&mut a).grants(), []);
        let node = world.node("a");
        assert_eq!(
            (&node["used"], &node["ahead"]),
            (&json!({"cpus": 1}), &json!(10))
        );
        let mut b = Puppet::new("b", 1);
        world.submit_with("long", "0-9", priority(1), json!({}));
        assert_eq!(world.take(&mut b).grants(), [entry("long", 1, "0")]);
        world.succeeded(&mut b, ("long", 1, "0"), 5_000);
        assert_eq!(world.take(&mut b).grants(), [entry("long", 1, "1")]);
    });
}

/// A job of one task is over once its own time is known: the time of those like it counts. Another
/// request, another namespace and a job of more tasks are not like it.
#[test]
fn jobs_of_one_short_task_are_leased_ahead() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        let jobs: Vec<String> = (0..20).map(|n| format!("job-{n}")).collect();
        for job in &jobs {
            world.submit_with(job, "0", json!({}), json!({}));
        }
        let first: Vec<_> = jobs[..2].iter().map(|job| entry(job, 1, "0")).collect();
        assert_eq!(world.take(&mut a).grants(), first, "nothing is known yet");
        for job in &jobs[..2] {
            world.succeeded(&mut a, (job, 1, "0"), 50);
        }
        // Two at once, and 100 ms for each of the two slots.
        let next: Vec<_> = jobs[2..8].iter().map(|job| entry(job, 1, "0")).collect();
        assert_eq!(world.take(&mut a).grants(), next);
        for job in &jobs[8..] {
            let answer = world.ingest(job, "CancelJob", json!({"job_id": job}), json!({}));
            assert_eq!(answer.status, 200, "{}", answer.body);
        }
        world.submit_with("two", "0-1", json!({}), json!({}));
        world.submit_with("large", "0", json!({}), cpus(2));
        assert_eq!(world.take(&mut a).grants(), []);
    });
}

/// The backlog is taken back while another relay idles: what has not started, from its end.
#[test]
fn a_backlog_is_asked_back_when_another_relay_idles() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 2));
    world.submit("short", "0-4");
    world.take(&mut a);
    world.succeeded(&mut a, ("short", 1, "0"), 10);
    assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-4")]);
    world.started(&mut a, ("short", 1, "1"));
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none());
    world.open(&mut b);
    let asked = world.poll(&mut a).unwrap();
    assert_eq!(asked.list("give_back"), [entry("short", 1, "3-4")]);
    // Until the report is there it is asked once, so that claims do not spin.
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none(), "asked already");
    a.holds = vec![entry("short", 1, "1-4")];
    world.returned(&mut a, ("short", 1, "3-4"), "given_back");
    assert_eq!(
        world.poll(&mut b).unwrap().grants(),
        [entry("short", 2, "3-4")]
    );
}

/// Of many jobs of one task no more come back than there is room for, from the end: each that comes back is
/// two events and another lease, and with a thousand relays most of them wait for something.
#[test]
fn no_more_jobs_are_asked_back_than_relays_that_idle_have_room_for() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 2));
    let jobs: Vec<String> = (0..12).map(|n| format!("job-{n}")).collect();
    for job in &jobs {
        world.submit_with(job, "0", json!({}), json!({}));
    }
    world.take(&mut a);
    world.succeeded(&mut a, ("job-0", 1, "0"), 10);
    assert_eq!(world.take(&mut a).grants().len(), 11);
    world.started(&mut a, ("job-1", 1, "0"));
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none());
    world.open(&mut b);
    let asked = world.poll(&mut a).unwrap();
    let last = [entry("job-11", 1, "0"), entry("job-10", 1, "0")];
    assert_eq!(asked.list("give_back"), last);
    // While those are on their way no others are asked for in their place.
    world.submit_with("large", "0", json!({}), cpus(64));
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none());
}

/// The same while a task waits that fits nobody: it must not keep a relay idle.
#[test]
fn a_backlog_is_asked_back_also_while_something_waits_that_fits_nobody() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 2));
    world.submit_with("big", "0", json!({}), cpus(64));
    world.submit("short", "0-4");
    world.take(&mut a);
    world.succeeded(&mut a, ("short", 1, "0"), 10);
    world.take(&mut a);
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none());
    world.open(&mut b);
    let asked = world.poll(&mut a).unwrap();
    assert_eq!(asked.list("give_back"), [entry("short", 1, "3-4")]);
}

/// The same while higher priority waits for that room, and only then: the tasks that have not started
/// come back, and what waits is next.
#[test]
fn a_backlog_is_asked_back_when_higher_priority_waits() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    teach(&mut world, &mut a);
    assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-11")]);
    world.started(&mut a, ("short", 1, "1"));
    world.open(&mut a);
    world.submit_with("equal", "0", json!({}), json!({}));
    assert!(world.poll(&mut a).is_none(), "what comes later waits");
    world.submit_with("urgent", "0", priority(1), json!({}));
    let asked = world.poll(&mut a).unwrap();
    assert_eq!(asked.list("give_back"), [entry("short", 1, "2-11")]);
    a.holds = vec![entry("short", 1, "1")];
    world.returned(&mut a, ("short", 1, "2-11"), "given_back");
    world.succeeded(&mut a, ("short", 1, "1"), 10);
    let grants = world.take(&mut a).grants();
    assert_eq!(grants, [entry("urgent", 1, "0"), entry("short", 2, "2-11")]);
}

/// A relay that cannot give it back, as it has started meanwhile, is asked again later, not before.
#[test]
fn what_was_not_given_back_is_asked_again_later() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
    world.submit("short", "0-2");
    world.take(&mut a);
    world.succeeded(&mut a, ("short", 1, "0"), 10);
    world.take(&mut a);
    world.open(&mut b);
    assert_eq!(
        world.claim(&mut a).list("give_back"),
        [entry("short", 1, "2")]
    );
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none(), "asked already");
    for _ in 0..4 {
        world.pass(LEASE / 4);
        world.open(&mut b);
        if world
            .poll(&mut a)
            .is_some_and(|answer| !answer.list("give_back").is_empty())
        {
            return;
        }
        world.open(&mut a);
    }
    panic!("never asked again");
}

/// Higher priority is not kept waiting by short tasks that are leased ahead: a backlog is given
/// out by rank, like everything, also where the requests are of different shapes.
#[test]
fn a_backlog_is_not_refilled_while_higher_priority_waits() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        teach(world, &mut a);
        world.take(&mut a);
        let urgent = json!({"priority": 9, "slots": 1});
        world.submit_with("urgent", "0", urgent, json!({}));
        for task in 1..=11 {
            let grants = world.take(&mut a).grants();
            let fresh = grants.iter().find(|(_, _, tasks)| tasks.starts_with("12"));
            assert_eq!(fresh, None, "before task {task} of the backlog has ended");
            world.succeeded(&mut a, ("short", 1, &task.to_string()), 10);
        }
        let grants = world.take(&mut a).grants();
        assert!(grants.contains(&entry("urgent", 1, "0")), "{grants:?}");
    });
}

/// What is held and was leased ahead comes back and does not start; what has started goes on. A Hub
/// that is killed in between asks again.
#[test]
fn what_is_held_is_asked_back_if_it_has_not_started() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        teach(world, &mut a);
        assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-11")]);
        world.started(&mut a, ("short", 1, "1"));
        world.open(&mut a);
        assert!(world.poll(&mut a).is_none());
        let ctx = json!({"job_id": "short", "tasks": "0-5"});
        assert_eq!(world.ingest("hold", "HoldJob", ctx, json!({})).status, 200);
        let asked = world.poll(&mut a).unwrap();
        assert_eq!(asked.list("give_back"), [entry("short", 1, "2-5")]);
        a.holds = vec![entry("short", 1, "1,6-11")];
        world.returned(&mut a, ("short", 1, "2-5"), "given_back");
        world.succeeded(&mut a, ("short", 1, "1"), 10);
        a.holds = vec![entry("short", 1, "6-11")];
        assert_eq!(world.job("short")["counts"]["held"], 4);
        let ctx = json!({"job_id": "short"});
        assert_eq!(
            world.ingest("free", "ReleaseJob", ctx, json!({})).status,
            200
        );
        assert_eq!(world.job("short")["counts"]["held"], 0);
    });
}

/// What is leased ahead behind a task that turns out to be long is taken back, also without an idle
/// relay, and nothing is leased ahead there until one has ended: else higher priority waits there while
/// lower priority runs elsewhere.
#[test]
fn nothing_waits_ahead_behind_a_long_task() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
    teach(&mut world, &mut a);
    assert_eq!(world.take(&mut a).grants(), [entry("short", 1, "1-11")]);
    world.started(&mut a, ("short", 1, "1"));
    world.open(&mut a);
    assert_eq!(world.take(&mut b).grants().len(), 1);
    world.open(&mut b);
    // On `b` one task after the other ends; the one on `a` does not.
    let mut asked = None;
    for task in 12.. {
        world.pass(LEASE / 4);
        world.succeeded(&mut b, ("short", 1, &task.to_string()), 10);
        let answers = [world.poll(&mut a), world.poll(&mut b)];
        let [of_a, _] = &answers;
        let back = of_a.as_ref().map(|answer| answer.list("give_back"));
        if let Some(back) = back.filter(|back| !back.is_empty()) {
            asked = Some(back);
            break;
        }
        assert!(task < 20, "never asked back");
        b.holds.clear();
        for answer in answers.iter().flatten() {
            assert_eq!(answer.status, 200);
        }
        world.open(&mut a);
        world.open(&mut b);
    }
    assert_eq!(asked.unwrap(), [entry("short", 1, "2-11")]);
    a.holds = vec![entry("short", 1, "1")];
    world.returned(&mut a, ("short", 1, "2-11"), "given_back");
    world.submit_with("urgent", "0-30", priority(1), json!({}));
    world.submit_with("teach", "0", priority(2), json!({}));
    assert_eq!(world.take(&mut a).grants(), [], "none ends there");
    world.succeeded(&mut a, ("short", 1, "1"), 9_000);
    assert!(!world.take(&mut a).grants().is_empty());
}
