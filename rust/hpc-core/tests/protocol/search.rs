//! A random search over the small world: a few tasks, one or two relays, one or two faults.
//!
//! Every choice of the search is one number, so a failing course shrinks to a short one. After
//! each step P1 to P5, P7, P8 and P10 to P14 are checked; at the end faults are over, and
//! everything must be decided and idle (P6, P9).

use proptest::prelude::*;
use proptest::test_runner::{TestError, TestRunner};
use serde_json::{Value, json};

use crate::network::{Cluster, Step};
use crate::world::LEASE;

/// How one course begins.
#[derive(Clone, Debug)]
pub struct Plan {
    relays: usize,
    tasks: &'static str,
    on_cut_off: &'static str,
    has_cancel: bool,
    /// Whether the first node is drained on the way, to be empty so many ms later.
    drain_ms: Option<i64>,
    terms: Terms,
    faults: usize,
    choices: Vec<u16>,
}

/// What keeps tasks from being ready in a course.
#[derive(Clone, Debug)]
struct Terms {
    retries: u32,
    /// Held from its submit until half-way.
    is_held: bool,
    /// Begun anew towards the end.
    has_retry: bool,
    /// Forgotten, as soon as it can be, from so many tenths of the course on.
    forget: Option<usize>,
    /// How a second job comes after the first, and whether task by task.
    after: Option<(&'static str, bool)>,
}

fn terms() -> impl Strategy<Value = Terms> {
    let conditions = prop::sample::select(vec!["after", "after_any", "after_fail"]);
    let after = prop::option::weighted(0.4, (conditions, any::<bool>()));
    let seldom = || prop::bool::weighted(0.2);
    let forget = prop::option::weighted(0.4, 0_usize..10);
    (0_u32..=1, seldom(), seldom(), forget, after).prop_map(
        |(retries, is_held, has_retry, forget, after)| Terms {
            retries,
            is_held,
            has_retry,
            forget,
            after,
        },
    )
}

fn plans() -> impl Strategy<Value = Plan> {
    let choices = prop::collection::vec(any::<u16>(), 20..90);
    let tasks = prop::sample::select(vec!["0", "0-1"]);
    let on_cut_off = prop::sample::select(vec!["stop", "finish"]);
    (
        1_usize..=2,
        tasks,
        on_cut_off,
        prop::bool::weighted(0.2),
        prop::option::weighted(0.3, prop::sample::select(vec![0, LEASE / 4, LEASE])),
        terms(),
        0_usize..=2,
        choices,
    )
        .prop_map(
            |(relays, tasks, on_cut_off, has_cancel, drain_ms, terms, faults, choices)| Plan {
                relays,
                tasks,
                on_cut_off,
                has_cancel,
                drain_ms,
                terms,
                faults,
                choices,
            },
        )
}

fn event(kind: &str, ctx: Value, spec: Value) -> Value {
    json!({"kind": kind, "payload": {"ctx": ctx, "spec": spec}})
}

/// Which of the steps a number stands for: faults are rare, and what is on its way mostly comes.
fn choose(steps: &[Step], choice: u16) -> Option<&Step> {
    let weight = |step: &Step| match step {
        Step::Deliver(_) => 6,
        Step::Claim(_) | Step::Report(..) | Step::Start(..) => 4,
        Step::End(..) | Step::Restart(_) | Step::Tick => 3,
        _ => 1,
    };
    let total: usize = steps.iter().map(weight).sum();
    let mut at = usize::from(choice) % total.max(1);
    steps.iter().find(|step| {
        let is_here = at < weight(step);
        at = at.saturating_sub(weight(step));
        is_here
    })
}

/// Runs one course; shown, it prints each step.
fn run(plan: &Plan, is_shown: bool) {
    let terms = &plan.terms;
    let mut ctx = json!({"ns_id": "batch", "job_id": "j", "tasks": plan.tasks});
    if terms.is_held {
        ctx["hold"] = json!(true);
    }
    let spec = json!({"on_cut_off": plan.on_cut_off, "retries": terms.retries});
    let submit = event("SubmitJob", ctx, spec.clone());
    let mut cluster = Cluster::new(plan.relays, vec![("1-submit", submit)]);
    // The client has its receipt before it cancels: a request about an unknown job is refused.
    cluster.send_requests();
    cluster.take(Step::Deliver(0));
    if let Some((condition, by_task)) = terms.after {
        let mut ctx = json!({"ns_id": "batch", "job_id": "k", "tasks": "0-1", condition: ["j"]});
        ctx["after_task"] = json!(by_task);
        cluster.want("2-second", event("SubmitJob", ctx, spec));
    }
    let about_j = |kind| event(kind, json!({"job_id": "j"}), json!({}));
    let node_a = json!({"node_id": "a"});
    let mut drain_ms = plan.drain_ms;
    let mut faults = plan.faults;
    let half = plan.choices.len() / 2;
    for (number, choice) in plan.choices.iter().enumerate() {
        if plan.has_cancel && number == half {
            cluster.want("3-cancel", about_j("CancelJob"));
        }
        if terms.is_held && number == half {
            cluster.want("4-release", about_j("ReleaseJob"));
        }
        // In every other course at once behind a cancel: what is ending must not be begun anew.
        let behind = [half + 1, plan.choices.len() * 3 / 4];
        if terms.has_retry && number == behind[plan.choices.len() % 2] {
            cluster.want("5-retry", about_j("RetryJob"));
        }
        if terms
            .forget
            .is_some_and(|tenth| number == plan.choices.len() * tenth / 10)
        {
            cluster.want("6-forget", about_j("ForgetJob"));
        }
        if let Some(ms) = drain_ms
            && number >= plan.choices.len() / 3
            && cluster.world.ledger.has_joined("a")
        {
            drain_ms = None;
            let deadline = json!({"deadline": cluster.world.now.wall + ms});
            cluster.want("7-drain", event("NodeDrained", node_a.clone(), deadline));
        }
        let steps = cluster.steps(faults > 0);
        let Some(step) = choose(&steps, *choice) else {
            continue;
        };
        faults -= usize::from(Cluster::is_fault(step));
        if is_shown {
            println!("{number}: {step:?}");
        }
        cluster.take(step.clone());
    }
    if plan.drain_ms.is_some() && drain_ms.is_none() {
        // Whatever is on its way is told first: the newest word holds.
        cluster.send_requests();
        cluster.act_fairly();
        cluster.want("7-undrain", event("NodeUndrained", node_a, json!({})));
    }
    cluster.settle();
    cluster.world.check_replay();
}

/// Runs so many courses; one that fails is made shorter in at most so many steps.
pub fn search(cases: u32, max_shrink_iters: u32) -> Result<(), Box<TestError<Plan>>> {
    let config = ProptestConfig {
        cases,
        failure_persistence: None, // the failing course is printed; no file appears in the tree
        max_shrink_iters,
        ..ProptestConfig::default()
    };
    let mut runner = TestRunner::new(config);
    let result = runner.run(&plans(), |plan| {
        run(&plan, false);
        Ok(())
    });
    result.map_err(Box::new)
}

/// The properties of the protocol hold in every course, and every course ends.
#[test]
fn the_properties_hold_in_every_course() {
    match search(1_500, 4_000).map_err(|error| *error) {
        Ok(()) => {}
        Err(TestError::Fail(reason, plan)) => {
            println!("{plan:?}");
            run(&plan, true); // the shortest course, step by step
            panic!("{reason}");
        }
        Err(error) => panic!("{error}"),
    }
}
