//! slots: the book of cores and memory that tasks have taken.
//!
//! A task gets cores of its own, the lowest that are free, so that tasks pinned beside each other
//! never share one, unless the relay offers more than there are: a core then stands here more than
//! once. It only counts; pinning is [`crate::life`]'s.

/// What the relay may use and what of it is free.
pub struct Slots {
    free: Vec<u32>,
    total: usize,
    free_mib: u64,
    total_mib: u64,
}

/// What a task has taken; given back by [`Slots::give`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its cores.
    pub cpus: Vec<u32>,
    /// Its memory.
    pub mib: u64,
}

impl Slots {
    /// All of it free; one entry per offered cpu, so that a core may stand twice.
    ///
    /// ```
    /// use hpc_executor::slots::Slots;
    /// let mut slots = Slots::new(vec![0, 1, 0, 1], 0);
    /// let all = slots.take(4, 0).unwrap();
    /// assert_eq!(all.cpus, [0, 0, 1, 1]);
    /// slots.give(all);
    /// assert!(slots.could_fit(4, 0) && !slots.could_fit(5, 0));
    /// ```
    #[must_use]
    pub fn new(mut cpus: Vec<u32>, memory_mib: u64) -> Self {
        cpus.sort_unstable_by(|a, b| b.cmp(a)); // the lowest is taken from the end
        Self {
            total: cpus.len(),
            free: cpus,
            free_mib: memory_mib,
            total_mib: memory_mib,
        }
    }

    /// Whether it would fit if nothing else ran.
    #[must_use]
    pub fn could_fit(&self, cpus: u32, mib: u64) -> bool {
        cpus as usize <= self.total && mib <= self.total_mib
    }

    /// Takes cores and memory, if both are free now.
    ///
    /// ```
    /// use hpc_executor::slots::Slots;
    /// let mut slots = Slots::new(vec![3, 0], 100);
    /// let first = slots.take(1, 60).unwrap();
    /// assert_eq!(first.cpus, [0]);
    /// assert!(slots.take(1, 60).is_none());
    /// slots.give(first);
    /// assert!(slots.take(2, 100).is_some());
    /// ```
    pub fn take(&mut self, cpus: u32, mib: u64) -> Option<Taken> {
        let rest = self.free.len().checked_sub(cpus as usize)?;
        let free_mib = self.free_mib.checked_sub(mib)?;
        self.free_mib = free_mib;
        let mut cpus = self.free.split_off(rest);
        cpus.reverse();
        Some(Taken { cpus, mib })
    }

    /// Gives back what [`Slots::take`] gave.
    pub fn give(&mut self, taken: Taken) {
        self.free_mib += taken.mib;
        for cpu in taken.cpus {
            let place = self.free.partition_point(|free| *free > cpu);
            self.free.insert(place, cpu);
        }
    }
}
