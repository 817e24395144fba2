//! One task as the log tells it: its attempts, what they came to, and the terms of its job.

use super::*;

#[derive(Clone, Debug, Default)]
pub(super) struct Task {
    pub(super) decided: Option<&'static str>,
    pub(super) active: Option<Execution>,
    pub(super) started: bool,
    pub(super) losses: u32,
    /// Failures of active attempts that were not final, in this round.
    pub(super) failures: u64,
    /// How often it was begun anew on request.
    pub(super) round: u64,
    /// Executions that were leased, and whether a report says that they ended.
    pub(super) had: BTreeMap<Execution, Had>,
}

#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Had {
    pub(super) started: bool,
    pub(super) ended: bool,
    pub(super) lost: bool,
}

/// What a submit says beyond its tasks, and what was said since.
#[derive(Clone, Debug, Default)]
pub(super) struct Terms {
    pub(super) retries: u64,
    /// Causes and exit codes.
    pub(super) retry_on: Option<Vec<Value>>,
    pub(super) max_fails: Option<usize>,
    pub(super) throttle: Option<usize>,
    /// Two of its executions must never overlap.
    pub(super) stops: bool,
    /// Condition and job.
    pub(super) after: Vec<(&'static str, String)>,
    pub(super) by_task: bool,
    /// Who held and released which tasks; none is all.
    pub(super) holds: Vec<(bool, Option<BTreeSet<u32>>)>,
    /// Tasks that need not wait any more: once free, always free.
    pub(super) freed: BTreeSet<u32>,
}

impl Terms {
    pub(super) fn of(ctx: &Value, spec: &Value) -> Self {
        let mut after = Vec::new();
        for condition in ["after", "after_any", "after_fail"] {
            let ids = ctx[condition].as_array().cloned().unwrap_or_default();
            after.extend(
                ids.iter()
                    .map(|id| (condition, id.as_str().unwrap().to_owned())),
            );
        }
        let count = |key: &str| spec[key].as_u64().and_then(|n| usize::try_from(n).ok());
        Self {
            retries: spec["retries"].as_u64().unwrap_or_default(),
            retry_on: spec["retry_on"].as_array().cloned(),
            max_fails: count("max_fails"),
            throttle: count("throttle"),
            stops: spec["on_cut_off"] == "stop",
            after,
            by_task: ctx["after_task"] == json!(true),
            holds: Vec::new(),
            freed: BTreeSet::new(),
        }
    }

    /// The reports of these tests end by an exit code or name a cause.
    pub(super) fn retries_on(&self, code: &Value, cause: &Value) -> bool {
        let Some(listed) = &self.retry_on else {
            let own = ["exit", "signal", "oom", "time limit", "output limit"];
            return cause.as_str().is_none_or(|cause| own.contains(&cause));
        };
        let named = cause.as_str().unwrap_or("exit");
        listed
            .iter()
            .any(|listed| *listed == named || !code.is_null() && listed == code)
    }

    pub(super) fn is_held(&self, task: u32) -> bool {
        let said = self.holds.iter().rev();
        let mut said = said.filter(|(_, tasks)| tasks.as_ref().is_none_or(|t| t.contains(&task)));
        said.next().is_some_and(|(is_held, _)| *is_held)
    }
}

impl Task {
    pub(super) fn highest(&self) -> u64 {
        self.had
            .keys()
            .map(|(attempt, _)| *attempt)
            .max()
            .unwrap_or(0)
    }

    /// Applies one event; what it settles the task as.
    pub(super) fn apply(
        &mut self,
        kind: &str,
        execution: &Execution,
        spec: &Value,
        (place, terms): (usize, &Terms),
    ) -> Option<&'static str> {
        let is_active = self.active.as_ref() == Some(execution);
        let had = self.had.get(execution).copied();
        let outcome = match kind {
            "CancelJob" => Some("cancelled"),
            "JobClaimed" => {
                self.check_claimed(execution, spec["adopted"] == json!(true));
                self.active = Some(execution.clone());
                let had = self.had.entry(execution.clone()).or_default();
                had.lost = false;
                self.started = had.started;
                return None;
            }
            "JobStarted" if had.is_some() => {
                let had = self.had.entry(execution.clone()).or_default();
                // It ran when it was lost, as is known only now.
                self.losses += u32::from(had.lost && !had.started && !had.ended);
                had.started = true;
                self.started |= is_active;
                None
            }
            "JobFinished" if had.is_some() => {
                self.had.entry(execution.clone()).or_default().ended = true;
                let of = |key: &str| match &spec[key] {
                    Value::Array(list) => list[place].clone(),
                    value => value.clone(),
                };
                let is_ok = of("exit_code") == 0 && of("signal").is_null() && of("cause").is_null();
                match (is_ok, is_active) {
                    (true, _) => Some("succeeded"),
                    (false, true)
                        if self.decided.is_none()
                            && self.failures < terms.retries
                            && terms.retries_on(&of("exit_code"), &of("cause")) =>
                    {
                        self.failures += 1;
                        None
                    }
                    (false, true) => Some("failed"),
                    (false, false) => None,
                }
            }
            "TasksReturned" if had.is_some() => {
                self.had.entry(execution.clone()).or_default().ended = true;
                None
            }
            "AttemptLost" if is_active => {
                self.had.entry(execution.clone()).or_default().lost = true;
                self.losses += u32::from(self.started);
                (self.losses >= POISON).then_some("failed")
            }
            _ => return None,
        };
        let outcome = outcome.filter(|_| self.decided.is_none());
        let ends = matches!(kind, "JobFinished" | "TasksReturned" | "AttemptLost");
        if outcome.is_some() || is_active && ends {
            self.active = None;
            self.started = false;
        }
        self.decided = self.decided.or(outcome);
        outcome
    }

    pub(super) fn check_claimed(&self, execution: &Execution, is_adopted: bool) {
        let (attempt, _) = execution;
        assert_eq!(
            self.decided, None,
            "P4: a decided task is never granted: {execution:?}"
        );
        assert_eq!(
            self.active, None,
            "P14: {execution:?} beside an active attempt"
        );
        if is_adopted {
            let had = self.had.get(execution);
            assert!(
                had.is_some_and(|had| !had.ended),
                "R20: adopts what was leased and runs"
            );
        } else {
            assert_eq!(*attempt, self.highest() + 1, "R7: the next attempt number");
        }
        let elsewhere = self
            .had
            .keys()
            .find(|had| had.0 == *attempt && had.1 != execution.1);
        assert_eq!(
            elsewhere, None,
            "P10: attempt {attempt} runs on one node only"
        );
    }
}
