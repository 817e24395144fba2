//! Attempts and outcomes: what can be said of tasks that were leased.

use std::borrow::Cow;

use super::columns::Ending;
use super::queue::ShapeIx;
use crate::lattice::Lattice as _;
use crate::lattice::tasks::TaskSet;

/// Index of a node in [`super::nodes::Nodes`].
pub type NodeIx = u32;

/// How a task was settled.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Outcome {
    /// The first `ok` of any attempt.
    Succeeded,
    /// A failure of the active attempt, or poison.
    Failed,
    /// On request.
    Cancelled,
}

impl Outcome {
    /// All outcomes.
    pub const ALL: [Self; 3] = [Self::Succeeded, Self::Failed, Self::Cancelled];

    /// Name on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// The outcome of this name.
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|outcome| outcome.wire() == name)
    }
}

/// Settled tasks by outcome; no task is in two of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settled([TaskSet; 3]);

impl Settled {
    /// The tasks of an outcome.
    #[must_use]
    pub fn of(&self, outcome: Outcome) -> &TaskSet {
        let [succeeded, failed, cancelled] = &self.0;
        match outcome {
            Outcome::Succeeded => succeeded,
            Outcome::Failed => failed,
            Outcome::Cancelled => cancelled,
        }
    }

    /// The tasks of an outcome, to be changed.
    pub fn of_mut(&mut self, outcome: Outcome) -> &mut TaskSet {
        let [succeeded, failed, cancelled] = &mut self.0;
        match outcome {
            Outcome::Succeeded => succeeded,
            Outcome::Failed => failed,
            Outcome::Cancelled => cancelled,
        }
    }

    /// Whether nothing is settled.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(TaskSet::is_empty)
    }

    /// What became of a job that is settled so: the worst that became of a task.
    #[must_use]
    pub fn outcome(&self) -> Outcome {
        let [_, failed, cancelled] = &self.0;
        match () {
            () if !failed.is_empty() => Outcome::Failed,
            () if !cancelled.is_empty() => Outcome::Cancelled,
            () => Outcome::Succeeded,
        }
    }

    /// All tasks that are settled.
    #[must_use]
    pub fn all(&self) -> TaskSet {
        let [succeeded, failed, cancelled] = &self.0;
        succeeded.union(failed).union(cancelled)
    }
}

/// What one event settles: the stamp of the deciding log entry (protocol R5).
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settles {
    /// In whatever round.
    pub tasks: Settled,
    /// Those of them that are in a further round, by its number, from 1.
    later: Vec<(u32, Outcome, TaskSet)>,
}

impl Settles {
    /// Says that tasks of an outcome are in a further round.
    pub fn note_round(&mut self, round: u32, outcome: Outcome, tasks: TaskSet) {
        self.tasks.of_mut(outcome).join(&tasks);
        self.later.push((round, outcome, tasks));
    }

    /// What is settled in further rounds.
    #[must_use]
    pub fn later(&self) -> &[(u32, Outcome, TaskSet)] {
        &self.later
    }

    /// The tasks of an outcome that are in the first round.
    #[must_use]
    pub fn in_first_round(&self, outcome: Outcome) -> Cow<'_, TaskSet> {
        let later = self.later.iter().filter(|(_, of, _)| *of == outcome);
        let mut tasks = Cow::Borrowed(self.tasks.of(outcome));
        for (_, _, of) in later {
            tasks.to_mut().subtract(of);
        }
        tasks
    }
}

/// Why tasks were settled as they were, by outcome.
pub type Causes = Vec<(Outcome, String, TaskSet)>;

/// An active attempt: tasks leased to one node under one epoch.
#[derive(Clone, Debug)]
pub struct Lease {
    /// The attempt's number: a fence, raised by every lease.
    pub attempt: u32,
    /// Whose it is.
    pub node: NodeIx,
    /// Under which epoch.
    pub epoch: u32,
    /// What each of its tasks takes.
    pub shape: ShapeIx,
    /// Tasks that have not ended.
    pub tasks: TaskSet,
    /// Those of them that have started.
    pub started: TaskSet,
}

/// Where an attempt has come to.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AttemptState {
    /// Leased, not started.
    Leased,
    /// Started.
    Running,
    /// Ended by a report.
    Ended(Ending),
    /// The lease ended without a result.
    Lost {
        /// Whether it is known to have started.
        started: bool,
    },
    /// Given back; counts for nothing.
    Returned(String),
    /// The task was settled otherwise meanwhile; the relay is told.
    Closed,
}

/// Attempts that share their number, node and state.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct AttemptKey {
    /// Number.
    pub attempt: u32,
    /// Node.
    pub node: NodeIx,
    /// State.
    pub state: AttemptState,
}
