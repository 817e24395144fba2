//! Fixed traces: places, epochs, drains, and what an open claim is told.

use serde_json::{Value, json};

use crate::puppet::Puppet;
use crate::world::{LEASE, World, entry, holds_through_restarts};

/// R23: a second relay under a live node id is told who has it, and waits until that one is lost.
#[test]
pub fn fault_25_a_second_place_is_taken_until_the_first_is_lost() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        let mut copy = a.copied("other");
        for epoch in 1..=3 {
            copy.epoch = epoch;
            let answer = world.claim(&mut copy);
            assert_eq!(
                (answer.status, &answer.body["code"]),
                (409, &json!("taken"))
            );
            assert_eq!(answer.body["last_epoch"], 1);
            assert_eq!(answer.body["host"], "host");
            assert_eq!(answer.body["place"], "place-a");
        }
        assert_eq!(
            world.claim(&mut a).status,
            200,
            "the first is not disturbed"
        );
        for _ in 0..4 {
            world.pass(LEASE);
        }
        copy.epoch = 1;
        let low = world.claim(&mut copy);
        assert_eq!(
            (low.status, &low.body["code"]),
            (409, &json!("taken")),
            "not above the last"
        );
        copy.epoch = 2;
        // R19: what the other place does not hold is lost with its join, and free.
        assert_eq!(world.take(&mut copy).grants(), [entry("j", 2, "0")]);
        let replaced = world.claim(&mut a);
        assert_eq!(
            (replaced.status, &replaced.body["code"]),
            (409, &json!("taken"))
        );
    });
}

/// R23: `--takeover` serves the second place at once; the claim of the first that waits is told.
#[test]
fn fault_25_a_takeover_replaces_a_live_relay() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        world.open(&mut a);
        let mut copy = a.copied("other");
        copy.takeover = true;
        copy.epoch = 1;
        let low = world.claim(&mut copy);
        assert_eq!(
            (low.status, &low.body["code"]),
            (409, &json!("lost")),
            "epochs rise (R22)"
        );
        assert_eq!(low.body["last_epoch"], 1);
        copy.epoch = 2;
        assert_eq!(world.take(&mut copy).grants(), [entry("j", 2, "0")]);
        let replaced = world.poll(&mut a).unwrap();
        assert_eq!(
            (replaced.status, &replaced.body["code"]),
            (409, &json!("taken"))
        );
        assert_eq!(replaced.body["place"], "other");
    });
}

/// P5: a takeover waits while the other may run what must never overlap. That one is replaced at once,
/// and its fence comes; where it says that it has ended all, nobody waits for that.
#[test]
fn fault_25_a_takeover_waits_for_the_fence_of_stop_tasks() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
    world.take(&mut a);
    world.open(&mut a);
    let mut copy = a.copied("other");
    copy.takeover = true;
    let waits = world.claim(&mut copy);
    assert_eq!((waits.status, &waits.body["code"]), (409, &json!("taken")));
    assert_eq!(waits.body["place"], "place-a");
    let replaced = world.poll(&mut a).unwrap();
    for mut former in [a.clone(), a.restarted()] {
        let again = world.claim(&mut former);
        for refused in [&replaced, &again] {
            let code = (refused.status, &refused.body["code"]);
            assert_eq!(code, (409, &json!("taken")));
            assert_eq!(refused.body["place"], "other");
        }
    }
    world.pass(LEASE - 1);
    assert_eq!(world.claim(&mut copy).status, 409);
    world.pass(1);
    assert_eq!(world.take(&mut copy).grants(), [entry("j", 2, "0")]);
    // The next one: the former says that what it ran is over.
    let mut third = copy.copied("third");
    assert_eq!(world.claim(&mut third).status, 409);
    world.returned(&mut copy, ("j", 2, "0"), "drain");
    assert_eq!(world.take(&mut third).grants(), [entry("j", 3, "0")]);
}

/// P5: a Hub that is killed meanwhile gives the former a whole lease, and does not serve it either.
#[test]
fn fault_25_a_takeover_outlives_the_hub() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.submit_with("j", "0", json!({}), json!({"on_cut_off": "stop"}));
    world.take(&mut a);
    let mut copy = a.copied("other");
    copy.takeover = true;
    world.claim(&mut copy);
    world.pass(LEASE / 2);
    world.kill_hub();
    assert_eq!(world.claim(&mut copy).status, 409);
    assert_eq!(world.claim(&mut a).status, 409);
    world.pass(LEASE - 1);
    assert_eq!(world.claim(&mut copy).status, 409);
    world.pass(1);
    assert_eq!(world.take(&mut copy).grants(), [entry("j", 2, "0")]);
}

/// R22: a claim of an epoch that is over, or of another session under this one, is refused.
#[test]
pub fn an_epoch_belongs_to_one_session_and_ends_with_the_next() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.take(&mut a);
        let mut twin = a.clone();
        twin.session = "session-twin".to_owned();
        let refused = world.claim(&mut twin);
        assert_eq!(
            (refused.status, &refused.body["code"]),
            (409, &json!("lost"))
        );
        world.open(&mut a);
        let mut again = a.restarted();
        assert_eq!(world.claim(&mut again).status, 200);
        let former = world.poll(&mut a).unwrap();
        assert_eq!((former.status, &former.body["code"]), (409, &json!("lost")));
        assert_eq!(former.body["last_epoch"], 2);
        assert_eq!(world.claim(&mut a).body["last_epoch"], 2);
    });
}

/// R9: a report of a session that the Hub has not seen claim is recorded like any other.
#[test]
fn a_report_before_the_join_is_taken() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.submit("j", "0");
        world.take(&mut a);
        let mut again = a.restarted();
        again.n = 0;
        again.holds = a.holds.clone();
        // The new session's first claim is still under way.
        world.succeeded(&mut again, ("j", 1, "0"), 5);
        assert_eq!(world.state("j"), "succeeded");
        again.holds = vec![entry("j", 1, "0")];
        let answer = world.claim(&mut again);
        assert_eq!((answer.status, answer.grants()), (200, vec![]));
        assert_eq!(answer.cancels(), [], "it has ended");
    });
}

/// A report on what a node was never leased is recorded as evidence and moves nothing.
#[test]
fn a_report_on_what_a_node_never_had_moves_nothing() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 1), Puppet::new("b", 1));
        world.submit("j", "0");
        world.take(&mut a);
        world.claim(&mut b);
        world.started(&mut b, ("j", 1, "0"));
        world.succeeded(&mut b, ("j", 1, "0"), 5);
        world.succeeded(&mut a, ("j", 4, "0"), 5);
        world.returned(&mut b, ("j", 1, "0"), "drain");
        assert_eq!(world.state("j"), "leased");
    });
}

/// A drained node gets no new work, keeps what it has, and stays drained through a new epoch.
#[test]
fn a_drained_node_gets_no_new_work_until_it_is_undrained() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0");
        world.take(&mut a);
        let ctx = json!({"node_id": "a"});
        world.ingest("drain", "NodeDrained", ctx.clone(), json!({}));
        world.submit("k", "0");
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.job("k")["why"], "every relay of `batch` is drained");
        world.succeeded(&mut a, ("j", 1, "0"), 5);
        let mut again = a.restarted();
        assert_eq!(world.take(&mut again).grants(), []);
        assert_eq!(world.node("a")["drained"], true);
        world.open(&mut again);
        assert!(world.poll(&mut again).is_none());
        world.ingest("undrain", "NodeUndrained", ctx, json!({}));
        assert_eq!(
            world.poll(&mut again).unwrap().grants(),
            [entry("k", 1, "0")]
        );
    });
}

/// At the deadline of its drain a node is told to give back what it still runs, which then runs
/// elsewhere and counts for nothing; a claim that waits is told at that moment.
#[test]
fn a_drained_node_gives_back_at_the_deadline_what_it_still_runs() {
    holds_through_restarts(|world| {
        let (mut a, mut b) = (Puppet::new("a", 2), Puppet::new("b", 2));
        world.submit("j", "0-1");
        world.take(&mut a);
        world.started(&mut a, ("j", 1, "0"));
        let (ctx, deadline) = (json!({"node_id": "a"}), world.now.wall + 300);
        world.ingest(
            "drain",
            "NodeDrained",
            ctx.clone(),
            json!({"deadline": deadline}),
        );
        assert_eq!(world.node("a")["drain_deadline"], deadline);
        world.open(&mut a);
        world.pass(299);
        assert!(world.poll(&mut a).is_none(), "not before it is due");
        world.pass(1);
        let told = world.poll(&mut a).unwrap();
        assert_eq!(told.cancels(), [entry("j", 1, "0-1")]);
        assert_eq!(told.body["cancels"][0]["reason"], "drain");
        world.open(&mut a);
        assert!(
            world
                .poll(&mut a)
                .is_none_or(|told| told.cancels().len() == 1)
        );
        world.returned(&mut a, ("j", 1, "0-1"), "drain");
        assert_eq!(world.take(&mut a).grants(), []);
        assert_eq!(world.take(&mut b).grants(), [entry("j", 2, "0-1")]);
        world.succeeded(&mut b, ("j", 2, "0-1"), 5);
        assert_eq!(world.state("j"), "succeeded");
        world.ingest("undrain", "NodeUndrained", ctx, json!({}));
        assert_eq!(world.node("a")["drain_deadline"], json!(null));
    });
}

/// What is cancelled is told as cancelled also past the deadline: it must not run elsewhere.
#[test]
fn what_is_cancelled_is_not_given_back() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 2);
        world.submit("j", "0-1");
        world.take(&mut a);
        let deadline = json!({"deadline": world.now.wall});
        world.ingest("drain", "NodeDrained", json!({"node_id": "a"}), deadline);
        let ctx = json!({"job_id": "j", "tasks": "0"});
        world.ingest("cancel", "CancelJob", ctx, json!({}));
        let told = world.claim(&mut a);
        assert_eq!(told.cancels(), [entry("j", 1, "0"), entry("j", 1, "1")]);
        let reason = |number: usize| told.body["cancels"][number]["reason"].clone();
        assert_eq!((reason(0), reason(1)), (json!("cancelled"), json!("drain")));
    });
}

/// The newest word on draining holds, by its stamp, its deadline included; a deadline has a form.
#[test]
fn the_newest_drain_has_the_deadline() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.take(&mut a);
        let wall = world.now.wall;
        let drain = |world: &mut World, id: &str, at: i64, spec: Value| {
            let payload = json!({"ctx": {"node_id": "a"}, "spec": spec});
            let event = json!({"kind": "NodeDrained", "at": at, "payload": payload});
            world.ask("ingest", "", &json!({"id": id, "events": [event]}))
        };
        drain(world, "first", wall, json!({"deadline": wall + 9_000}));
        drain(world, "older", wall - 1, json!({"deadline": wall + 1_000}));
        assert_eq!(world.node("a")["drain_deadline"], wall + 9_000);
        // The same moment: the sooner one, in whatever order they come.
        drain(world, "same", wall, json!({"deadline": wall + 5_000}));
        drain(world, "also", wall, json!({"deadline": wall + 7_000}));
        assert_eq!(world.node("a")["drain_deadline"], wall + 5_000);
        drain(world, "newer", wall + 1, json!({}));
        assert_eq!(world.node("a")["drain_deadline"], json!(null));
        for deadline in [json!("soon"), json!(-1), json!(1.5)] {
            let refused = drain(world, "wrong", wall + 2, json!({"deadline": deadline}));
            assert_eq!(refused.status, 422, "{}", refused.body);
            assert_eq!(refused.body["errors"][0]["field"], "spec.deadline");
        }
    });
}

/// A claim that waits gets what comes meanwhile, in the turn in which it comes.
#[test]
pub fn an_open_claim_is_granted_what_is_submitted() {
    holds_through_restarts(|world| {
        let mut a = Puppet::new("a", 1);
        world.open(&mut a);
        assert!(world.poll(&mut a).is_none());
        world.submit("j", "0");
        assert_eq!(world.poll(&mut a).unwrap().grants(), [entry("j", 1, "0")]);
    });
}

/// A claim that nothing comes for is answered within a quarter of the lease: it is the heartbeat.
#[test]
fn an_open_claim_is_answered_within_a_quarter_of_the_lease() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    world.open(&mut a);
    world.pass(LEASE / 4 - 1);
    assert!(world.poll(&mut a).is_none());
    world.pass(1);
    let answer = world.poll(&mut a).unwrap();
    assert_eq!((answer.status, answer.grants()), (200, vec![]));
    assert_eq!(answer.body["lease_s"], 2.0);
}

/// A client that hangs up is not answered later, and its node lives on until its lease is over.
#[test]
fn a_claim_whose_client_left_is_forgotten() {
    let mut world = World::new();
    let mut a = Puppet::new("a", 1);
    a.n = 1;
    let token = world.send("claim", "", &a.body(60.0));
    world.send("gone", &format!("token={token}"), &json!({}));
    world.submit("j", "0");
    world.pass(LEASE / 2);
    assert!(world.take_answer(token).is_none());
    assert_eq!(world.take(&mut a).grants(), [entry("j", 1, "0")]);
}
