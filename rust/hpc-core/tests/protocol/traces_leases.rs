//! Fixed traces: grants, old and repeated claims, losses, adoption.

use serde_json::json;

use crate::puppet::Puppet;
use crate::world::{LEASE, RECLAIM, World, entry, holds_through_restarts};

/// Lets a node be silent until its lease is over.
fn lose(world: &mut World, node: &str) {
    for _ in 0..4 {
        world.pass(LEASE);
        if world.node(node)["state"] == "unreachable" {
            return;
        }
    }
    panic!("{node} is not lost");
}

/// R14, R16: an answer that comes after the lease names what another relay has by then; the relay
/// drops it, and its claim is refused.
#[test]
pub fn fault_22_a_delayed_grant_is_the_next_attempt_of_another_relay() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
        let delayed = world.claim(&mut a); // granted, and not taken: the answer hangs
        assert_eq!(delayed.grants(), [entry("j", 1, "0")]);
        lose(world, "a");
        assert_eq!(world.take(&mut b).grants(), [entry("j", 2, "0")]);
        let late = world.claim(&mut a);
        assert_eq!((late.status, &late.body["code"]), (409, &json!("lost")));
        assert_eq!(late.body["last_epoch"], 1);
        let mut a = a.rejoined();
        assert_eq!(world.claim(&mut a).grants(), []);
        world.succeeded(&mut b, ("j", 2, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// R14, R18: a claim that was overtaken by a newer one says nothing about what runs now.
#[test]
pub fn fault_34_an_old_claim_after_a_newer_one_gives_nothing_up() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.claim(&mut a);
        let mut old = a.clone();
        world.submit("j", "0");
        a.n += 1; // the old claim is on its way under this number
        old.n += 1;
        assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0")]);
        world.started(&mut a, ("j", 1, "0"));
        let overtaken = world.send("claim", "", &old.body(0.0));
        if let Some(answer) = world.take_answer(overtaken) {
            assert_eq!(answer.status, 200);
            assert_eq!(answer.cancels(), []);
        }
        assert_eq!(world.state("j"), "running");
        assert_eq!(world.events("AttemptLost"), []);
        assert_eq!(
            world.claim(&mut a).grants(),
            [],
            "it is held, so not granted again"
        );
    });
}

/// R13: what ended and is not acknowledged is held, so it is never granted a second time.
#[test]
fn a_task_that_ends_between_claim_and_answer_is_not_granted_again() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        // The claim that names it is under way while it ends; the report is not there yet.
        assert_eq!(world.claim(&mut a).grants(), []);
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.claim(&mut a).grants(), []);
        assert_eq!(world.events("JobClaimed").len(), 1);
    });
}

/// R17: whatever answer was lost, the next claim, which does not name it, is granted it again.
#[test]
pub fn a_lost_answer_heals_with_the_next_claim() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        assert_eq!(world.claim(&mut a).grants(), [entry("j", 1, "0-1")]);
        assert_eq!(world.claim(&mut a).grants(), [entry("j", 1, "0-1")]);
        a.holds = vec![entry("j", 1, "0")];
        assert_eq!(world.claim(&mut a).grants(), [entry("j", 1, "1")]);
        a.holds = vec![entry("j", 1, "0-1")];
        assert_eq!(world.claim(&mut a).grants(), []);
        assert_eq!(
            world.events("JobClaimed").len(),
            1,
            "nothing is leased twice"
        );
    });
}

/// R19: a newer epoch passes over what it holds; the rest is lost in the very commit of the join.
#[test]
pub fn a_newer_epoch_keeps_what_it_holds_and_loses_the_rest_at_once() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 3);
        world.submit("j", "0-2");
        world.take(&mut a);
        world.started(&mut a, ("j", 1, "0-2"));
        let mut again = a.restarted();
        again.holds = vec![entry("j", 1, "1")];
        let answer = world.take(&mut again);
        assert_eq!(answer.grants(), [entry("j", 2, "0,2")]);
        let (lost, joined) = (world.events("AttemptLost"), world.events("NodeJoined"));
        assert_eq!(lost[0].1["payload"]["ctx"]["tasks"], "0,2");
        assert_eq!(lost[0].0, joined[1].0, "one commit");
        world.succeeded(&mut again, ("j", 1, "1"), 5);
        world.succeeded(&mut again, ("j", 2, "0,2"), 5);
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// Section 3: what must never overlap is lost with its node; the rest stays its own for the
/// reclaim time, since a network that is away for a while must not cost a day's computation.
#[test]
pub fn fault_23_silence_loses_stop_at_the_lease_and_finish_at_the_reclaim_time() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 2), Puppet::new("b", 2));
        world.submit("finish", "0");
        world.submit_with("stop", "0", json!({}), json!({"on_cut_off": "stop"}));
        world.take(&mut a);
        lose(world, "a");
        assert_eq!(world.events("AttemptLost").len(), 1);
        assert_eq!(world.take(&mut b).grants(), [entry("stop", 2, "0")]);
        let mut rest = RECLAIM;
        while world.events("AttemptLost").len() == 1 && rest > -RECLAIM {
            world.pass(LEASE / 4);
            rest -= LEASE / 4;
            world.take(&mut b);
        }
        assert!(rest <= LEASE / 4, "reclaimed {rest} ms too soon");
        assert_eq!(b.holds, [entry("stop", 2, "0"), entry("finish", 2, "0")]);
    });
}

/// A relay that left by its own will runs nothing more: what it is still leased, as by an answer
/// that it did not wait for, is free at once and not for ever stuck (P6).
#[test]
fn what_a_relay_left_with_is_free_at_once() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        let left = json!({"node_id": "a", "epoch": 1});
        world.ingest("left", "NodeLeft", left, json!({}));
        assert_eq!(world.node("a")["state"], "left");
        assert_eq!(world.take(&mut b).grants(), [entry("j", 2, "0")]);
    });
}

/// R20: a node that comes back with what was given up meanwhile goes on with it, under the same
/// attempt number, if nothing else runs.
#[test]
pub fn fault_28_what_was_given_up_is_adopted_when_it_comes_back() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.started(&mut a, ("j", 1, "0"));
        give_up(world, &a);
        assert_eq!(world.state("j"), "queued");
        let mut a = a.rejoined();
        assert_eq!(world.claim(&mut a).grants(), []);
        assert_eq!(world.state("j"), "running", "it runs, and is shown so");
        assert_eq!(
            world.events("JobClaimed")[1].1["payload"]["ctx"]["attempt"],
            1
        );
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
    });
}

/// P5: that a person gives a node up does not end what its relay may run still; what must never overlap
/// is given to others once the lease has passed since its last claim, the rest at once.
#[test]
pub fn fault_28_a_stop_task_of_a_node_that_is_given_up_waits_for_its_fence() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 2), Puppet::new("b", 2));
        world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
        world.submit("k", "0");
        world.take(&mut a);
        world.pass(LEASE / 2);
        give_up(world, &a);
        assert_eq!(world.take(&mut b).grants(), [entry("k", 2, "0")]);
        world.pass(LEASE / 2 - 1);
        assert_eq!(world.take(&mut b).grants(), []);
        world.pass(LEASE);
        assert_eq!(
            world.take(&mut b.rejoined()).grants().last(),
            Some(&entry("j", 2, "0"))
        );
    });
}

/// The same relay may come back with it before that: it is dead, or runs nothing else.
#[test]
fn a_stop_task_of_a_node_that_is_given_up_passes_over_to_its_next_epoch() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
        world.take(&mut a);
        give_up(world, &a);
        let mut again = a.restarted();
        assert_eq!(world.take(&mut again).grants(), [entry("j", 2, "0")]);
        give_up(world, &again);
        let mut again = again.rejoined();
        assert_eq!(world.take(&mut again).cancels(), []);
        world.succeeded(&mut again, ("j", 2, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
    });
}

fn give_up(world: &mut World, puppet: &Puppet) {
    let id = format!("lost-{}-{}", puppet.node, puppet.epoch);
    let ctx = json!({"node_id": puppet.node, "epoch": puppet.epoch});
    let answer = world.ingest(&id, "NodeLost", ctx, json!({}));
    assert_eq!(answer.status, 200, "{}", answer.body);
}

/// R20, R21: beside an active attempt nothing is adopted; the first `ok` decides, and the other
/// relay is told at once.
#[test]
pub fn nothing_is_adopted_beside_an_active_attempt() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        world.started(&mut a, ("j", 1, "0"));
        give_up(world, &a);
        world.take(&mut b);
        let mut a = a.rejoined();
        assert_eq!(world.claim(&mut a).cancels(), [], "finish is left to run");
        assert_eq!(world.events("JobClaimed").len(), 2);
        world.open(&mut a);
        assert!(world.poll(&mut a).is_none());
        world.succeeded(&mut b, ("j", 2, "0"), 5);
        let told = world.poll(&mut a).unwrap();
        assert_eq!(told.cancels(), [entry("j", 1, "0")]);
    });
}

/// P14: a relay that holds two attempts of one task gets one of them back, never both.
#[test]
fn one_of_two_held_attempts_is_adopted() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 2), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        give_up(world, &a);
        world.take(&mut b); // attempt 2, so that attempt 1 is not adopted
        let mut a = a.rejoined();
        world.open(&mut a);
        give_up(world, &b); // attempt 3 goes to `a`, beside its attempt 1
        let Some(answer) = world.poll(&mut a) else {
            return; // a killed Hub hears this claim only now, and adopts attempt 1
        };
        assert_eq!(answer.grants(), [entry("j", 3, "0")]);
        a.hold(&answer);
        give_up(world, &a);
        let mut a = a.rejoined();
        world.claim(&mut a);
        assert_eq!(world.events("JobClaimed").len(), 4, "adopted once");
    });
}

/// R7: a number is never used again, also after an attempt of a lower number was adopted.
#[test]
fn attempt_numbers_rise_after_an_adoption() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        give_up(world, &a);
        world.take(&mut b);
        give_up(world, &b);
        let mut a = a.rejoined();
        world.take(&mut a);
        assert_eq!(a.holds, [entry("j", 1, "0")], "adopted");
        world.returned(&mut a, ("j", 1, "0"), "drain");
        let mut c = Puppet::new("c", 1);
        assert_eq!(world.take(&mut c).grants(), [entry("j", 3, "0")]);
    });
}

/// R20: what a report says has ended is not adopted, however its node lists it.
#[test]
pub fn what_has_ended_is_never_adopted() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        world.take(&mut a);
        let held = a.holds.clone();
        give_up(world, &a);
        world.failed(&mut a, ("j", 1, "0"));
        world.returned(&mut a, ("j", 1, "1"), "fence");
        let mut a = a.rejoined();
        a.holds = held;
        let answer = world.claim(&mut a);
        assert_eq!(answer.grants(), [entry("j", 2, "0-1")]);
        assert_eq!(
            answer.cancels(),
            [],
            "it has ended: there is nothing to end"
        );
    });
}

/// R21: what must never overlap is not taken up again once it was given up.
#[test]
fn a_stop_task_that_was_given_up_is_ended_not_adopted() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
        world.take(&mut a);
        lose(world, "a");
        let mut a = a.rejoined();
        let answer = world.claim(&mut a);
        assert_eq!(answer.cancels(), [entry("j", 1, "0")]);
        assert_eq!(answer.grants(), [entry("j", 2, "0")]);
    });
}

/// R24: the lease that a node was promised is in the log; a Hub that starts with a shorter one
/// waits for the longer.
#[test]
pub fn a_shorter_lease_after_a_restart_does_not_shorten_what_was_promised() {
    let mut world = World::new();
    let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
    world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
    world.take(&mut a);
    world.restart_with_lease(LEASE / 10);
    world.pass(LEASE - 1);
    assert_eq!(world.take(&mut b).grants(), []);
    assert_eq!(world.node("a")["state"], "up");
    world.pass(1);
    assert_eq!(world.node("a")["state"], "unreachable");
    let answer = world.claim(&mut b.rejoined());
    assert_eq!(
        answer.body["lease_s"], 0.2,
        "a new epoch gets the new lease"
    );
}

/// A Hub that starts with a longer lease still answers within a quarter of the one it promised.
#[test]
pub fn a_longer_lease_after_a_restart_does_not_lengthen_the_wait() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.take(&mut a);
    world.restart_with_lease(LEASE * 10);
    world.open(&mut a);
    world.pass(LEASE / 4);
    let answer = world.poll(&mut a).unwrap();
    assert_eq!(answer.body["lease_s"], 2.0);
}

/// R29: a Hub that was frozen could hear nobody; its nodes get a whole lease from its waking.
#[test]
pub fn a_late_turn_renews_all_leases() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.take(&mut a);
    world.pass(LEASE / 2);
    world.freeze(LEASE);
    world.pass(LEASE - 1);
    assert_eq!(world.node("a")["state"], "up");
    world.pass(1);
    assert_eq!(world.node("a")["state"], "unreachable");
}

/// The same of a node that was promised a shorter lease than this Hub gives: its own counts.
#[test]
fn a_turn_that_is_late_for_the_shortest_lease_renews_all() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.take(&mut a);
    world.restart_with_lease(LEASE * 10);
    world.freeze(LEASE * 3 / 2);
    assert_eq!(world.node("a")["state"], "up");
}
