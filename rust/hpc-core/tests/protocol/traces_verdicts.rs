//! Fixed traces: what settles a task, and what is only evidence.

use serde_json::json;

use crate::puppet::Puppet;
use crate::world::{LEASE, World, entry, holds_through_restarts};

/// A client gives a node up, so that all its attempts are lost.
fn give_up(world: &mut World, puppet: &Puppet) {
    let id = format!("lost-{}-{}", puppet.node, puppet.epoch);
    let ctx = json!({"node_id": puppet.node, "epoch": puppet.epoch});
    assert_eq!(world.ingest(&id, "NodeLost", ctx, json!({})).status, 200);
}

/// R30: a cancel decides at its commit, whether or not anything runs; a later `ok` is evidence.
#[test]
pub fn a_cancel_before_ok_stays_cancelled() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0-1");
        world.take(&mut a);
        assert_eq!(world.cancel("j").status, 200);
        assert_eq!(world.state("j"), "cancelled");
        let held = a.holds.clone();
        let answer = world.claim(&mut a);
        assert_eq!(answer.cancels(), [entry("j", 1, "0")]);
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        let job = world.job("j");
        assert_eq!(job["state"], "cancelled");
        assert_eq!(
            job["attempts"][0]["state"], "succeeded",
            "shown as late evidence"
        );
        a.holds = held;
        assert_eq!(world.claim(&mut a).cancels(), [], "it has ended");
    });
}

/// R5: what was decided first stays; a cancel after `ok` cancels what is left.
#[test]
fn a_cancel_after_ok_cancels_the_rest() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        world.take(&mut a);
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.cancel("j").status, 200);
        let settled = world.job("j")["settled"].clone();
        let expected = json!([
            {"tasks": "0", "state": "succeeded", "cause": null},
            {"tasks": "1", "state": "cancelled", "cause": "cancelled"},
        ]);
        assert_eq!(settled, expected);
        assert_eq!(world.cancel("j").status, 200, "settled tasks: no effect");
        assert_eq!(world.job("j")["settled"], expected);
    });
}

/// R30: a cancel speaks to whoever waits, in the turn in which it comes.
#[test]
pub fn a_cancel_is_told_at_once_to_an_open_claim() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.open(&mut a);
        assert!(world.poll(&mut a).is_none());
        world.cancel("j");
        let told = world.poll(&mut a).unwrap();
        assert_eq!(told.cancels(), [entry("j", 1, "0")]);
        assert_eq!(told.body["cancels"][0]["reason"], "cancelled");
    });
}

/// A relay that takes its time to end a task is told again with every answer, but its claims do
/// not spin; and readers see on whom the job waits.
#[test]
fn a_cancel_that_takes_its_time_does_not_make_claims_spin() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.submit("j", "0");
    world.take(&mut a);
    world.cancel("j");
    assert_eq!(world.claim(&mut a).cancels(), [entry("j", 1, "0")]);
    assert_eq!(world.job("j")["why"], "ending on a");
    world.open(&mut a);
    assert!(world.poll(&mut a).is_none(), "told already");
    world.pass(LEASE / 4);
    assert_eq!(world.poll(&mut a).unwrap().cancels(), [entry("j", 1, "0")]);
    world.failed(&mut a, ("j", 1, "0"));
    world.claim(&mut a);
    assert_eq!(world.job("j")["why"], json!(null));
}

/// A cancel of some tasks leaves the others.
#[test]
fn a_cancel_may_name_tasks() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 9);
        world.submit("j", "0-3");
        let ctx = json!({"job_id": "j", "tasks": "1-2,7"});
        assert_eq!(
            world.ingest("some", "CancelJob", ctx, json!({})).status,
            200
        );
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0,3")]);
        assert_eq!(world.job("j")["counts"]["cancelled"], 2);
    });
}

/// R8: the work of a relay that was cut off still counts; who has the task now is told to end it.
#[test]
pub fn fault_28_a_late_ok_of_a_lost_attempt_settles() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        give_up(world, &a);
        world.take(&mut b);
        world.open(&mut b);
        assert!(world.poll(&mut b).is_none());
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
        assert_eq!(world.poll(&mut b).unwrap().cancels(), [entry("j", 2, "0")]);
        assert_eq!(world.node("b")["used"], json!({}), "its slot is free");
        world.failed(&mut b, ("j", 2, "0"));
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// The same where the task waits: it is not run again.
#[test]
pub fn a_late_ok_of_a_lost_attempt_takes_the_task_off_the_queue() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        give_up(world, &a);
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.take(&mut b).grants(), []);
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// R8: the failure of an attempt that was given up counts nothing.
#[test]
pub fn a_late_failure_of_a_lost_attempt_counts_nothing() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        give_up(world, &a);
        world.failed(&mut a, ("j", 1, "0"));
        assert_eq!(world.state("j"), "queued");
        world.take(&mut b);
        world.succeeded(&mut b, ("j", 2, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// What a relay gives back is queued again and counts for nothing, however often.
#[test]
fn what_comes_back_is_queued_again() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        for (number, reason) in (1..).zip(["fence", "drain", "given_back", "fence", "drain"]) {
            assert_eq!(world.take(&mut a).grants(), [entry("j", number, "0")]);
            world.started(&mut a, ("j", number, "0"));
            world.returned(&mut a, ("j", number, "0"), reason);
        }
        assert_eq!(world.state("j"), "queued");
        let states = world.job("j")["attempts"].clone();
        assert_eq!(states.as_array().unwrap().len(), 5);
        assert_eq!(states[1]["cause"], "drain");
    });
}

/// A failure of the active attempt settles, with its cause; the columns of one report may differ.
#[test]
fn one_report_settles_tasks_by_how_each_ended() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("j", "0-3");
        world.take(&mut a);
        let spec = json!({
            "exit_code": [0, 3, null, null], "signal": [null, null, 9, null],
            "cause": [null, null, null, "time limit"], "started_at": 10, "finished_at": [11, 12, 13, 14],
        });
        world.report(&mut a, "JobFinished", ("j", 1, "0-3"), spec);
        let expected = json!([
            {"tasks": "0", "state": "succeeded", "cause": null},
            {"tasks": "1", "state": "failed", "cause": "exit"},
            {"tasks": "2", "state": "failed", "cause": "signal"},
            {"tasks": "3", "state": "failed", "cause": "time limit"},
        ]);
        assert_eq!(world.job("j")["settled"], expected);
        assert_eq!(world.state("j"), "failed");
    });
}

/// An attempt's row begins with the first start of its own tasks, not of all that ran beside them.
#[test]
fn a_task_that_failed_late_did_not_start_with_the_first() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        world.take(&mut a);
        for (task, start) in [("0", 10), ("1", 71)] {
            world.report(
                &mut a,
                "JobStarted",
                ("j", 1, task),
                json!({"started_at": start}),
            );
        }
        for (task, code, start) in [("0", 0, 10), ("1", 3, 71)] {
            let spec = json!({"exit_code": code, "started_at": start, "finished_at": 80});
            world.report(&mut a, "JobFinished", ("j", 1, task), spec);
        }
        let rows = world.job("j")["attempts"].clone();
        let starts: Vec<_> = rows
            .as_array()
            .unwrap()
            .iter()
            .map(|row| &row["started_at"])
            .collect();
        assert_eq!(starts, [10, 71]);
    });
}

/// Poison: what took its relay down three times while it ran is not run again.
#[test]
fn fault_48_three_losses_of_what_had_started_are_poison() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        for number in 1..=3 {
            assert_eq!(world.state("j"), "queued");
            assert_eq!(world.take(&mut a).grants(), [entry("j", number, "0")]);
            world.started(&mut a, ("j", number, "0"));
            give_up(world, &a);
            a = a.restarted();
        }
        assert_eq!(world.state("j"), "failed");
        assert_eq!(world.job("j")["settled"][0]["cause"], "lost");
        assert_eq!(world.claim(&mut a).grants(), []);
    });
}

/// A relay that dies with its task tells of the start only when it comes again, after the loss.
#[test]
fn fault_48_losses_count_also_where_the_start_is_told_late() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        for number in 1..=4 {
            assert_eq!(world.state("j"), "queued");
            assert_eq!(world.claim(&mut a).grants(), [entry("j", number, "0")]);
            let mut late = a.clone();
            a = a.restarted();
            a.max = 0;
            world.claim(&mut a);
            world.started(&mut late, ("j", number, "0"));
            a.max = 64;
        }
        assert_eq!(world.state("j"), "failed");
        assert_eq!(world.job("j")["settled"][0]["cause"], "lost");
    });
}

/// R4 of section 6: losses of what had not started are nobody's fault, however many.
#[test]
pub fn fault_20_losses_of_what_had_not_started_are_no_poison() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        for number in 1..=5 {
            assert_eq!(world.claim(&mut a).grants(), [entry("j", number, "0")]);
            a = a.restarted();
        }
        world.take(&mut a);
        world.started(&mut a, ("j", 6, "0"));
        give_up(world, &a);
        assert_eq!(world.state("j"), "queued", "it was lost once while it ran");
    });
}

/// A job can stay open: new tasks of a settled job wait like any other.
#[test]
fn tasks_can_be_added_to_a_settled_job() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 4);
        world.submit("j", "0");
        world.take(&mut a);
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
        world.submit("j", "0-2");
        assert_eq!(world.state("j"), "queued");
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "1-2")]);
        world.succeeded(&mut a, ("j", 1, "1-2"), 5);
        let job = world.job("j");
        assert_eq!(
            (&job["state"], &job["phase"]),
            (&json!("succeeded"), &json!(3))
        );
        let pulled = world.ask("pull", "gid=kernel&cursor=0&table=jobs", &json!({}));
        let facts = &pulled.body["facts"]["jobs"]["j"];
        assert_eq!(
            (&facts["submitted"], &facts["succeeded"]),
            (&json!("0-2"), &json!("0-2"))
        );
    });
}
