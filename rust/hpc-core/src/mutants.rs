//! Mutants: each breaks one rule of the protocol, so that its tests can be seen to notice.
//!
//! Without the feature `mutants`, which nothing that ships enables, [`is_broken`] is `false` and
//! costs nothing. With it a test breaks one rule for its own thread; which tests must fail then is
//! said in `tests/protocol/mutants.rs`.

/// A rule of the protocol as its switch breaks it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// R2: the id of a batch is not remembered.
    R2,
    /// R3: replay does not read what the Hub has decided.
    R3,
    /// R5: what has an outcome gets another.
    R5,
    /// R6: what is settled stays leased.
    R6,
    /// R6: what waits for what can never be is left waiting.
    R6Dependents,
    /// R7: the number of an attempt is used again.
    R7,
    /// R8: a failure of an attempt that was given up counts.
    R8,
    /// R8: a success of an attempt that was given up does not count.
    R8Ok,
    /// R9: a report on a lease that is over is refused.
    R9,
    /// R10: what is beyond the next number is taken.
    R10,
    /// R17: what a lost answer granted is not granted again.
    R17,
    /// R18: what a claim does not name is concluded to be lost.
    R18,
    /// R19: a newer epoch keeps what it does not hold.
    R19,
    /// R20: what has ended is adopted.
    R20Ended,
    /// R20: an attempt is adopted beside an active one.
    R20Beside,
    /// R20: nothing is adopted.
    R20,
    /// R21: nobody is told to end what is settled.
    R21,
    /// R22: a claim of a lower epoch is served.
    R22,
    /// R23: another place is served under a live name.
    R23,
    /// R24: leases end where the Hub starts.
    R24,
    /// R25: a node is lost after half of its lease.
    R25,
    /// R28: nobody counts what is leased.
    R28,
    /// R29: a late turn renews nothing.
    R29,
    /// R30: a cancel waits for what runs.
    R30,
    /// Every loss is poison, whether or not anything had started.
    Poison,
}

#[cfg(feature = "mutants")]
thread_local! {
    static BROKEN: std::cell::Cell<Option<Rule>> = const { std::cell::Cell::new(None) };
}

/// Whether the rule is broken.
#[cfg(feature = "mutants")]
#[must_use]
pub fn is_broken(rule: Rule) -> bool {
    BROKEN.get() == Some(rule)
}

/// Whether the rule is broken: it is not.
#[cfg(not(feature = "mutants"))]
#[inline(always)]
#[must_use]
pub const fn is_broken(_rule: Rule) -> bool {
    false
}

/// Breaks one rule, or none, from now on.
#[cfg(feature = "mutants")]
pub fn break_rule(rule: Option<Rule>) {
    BROKEN.set(rule);
}
