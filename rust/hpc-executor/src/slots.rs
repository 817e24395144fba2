//! slots: the book of what tasks have taken of the relay's offer.
//!
//! | what it offers               | a task gets                                              |
//! |------------------------------|----------------------------------------------------------|
//! | cores                        | cores of its own, the lowest that are free               |
//! | memory, and any other *sum*  | an amount                                                |
//! | a *pool* of named values,    | values of its own, those that were named first and are   |
//! | GPUs among them              | free                                                     |
//!
//! So tasks pinned beside each other never share a core, unless the relay offers more than there
//! are: a core then stands here more than once. No value is ever with two tasks. It only counts;
//! pinning is [`crate::life`]'s, what a task is told of its values [`crate::work`]'s.

use std::collections::BTreeMap;

use serde::Deserialize;

/// What a relay offers of a resource that has a name.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
pub enum Stock {
    /// An amount.
    Sum(u64),
    /// Values, each for one task at a time.
    Pool(Vec<String>),
}

/// What one task asks for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Asked {
    /// Cores.
    pub cpus: u32,
    /// Memory.
    pub mib: u64,
    /// Amounts of what has a name, each from 1.
    pub named: BTreeMap<String, u64>,
}

/// What a task has taken; given back by [`Slots::give`].
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Taken {
    /// Its cores.
    pub cpus: Vec<u32>,
    /// Its memory.
    pub mib: u64,
    /// Of what has a name.
    pub shares: Vec<Share>,
}

/// A task's part of one resource.
#[derive(Debug, PartialEq, Eq)]
pub struct Share {
    place: usize,
    amount: u64,
    /// Places of its values in the pool, ascending; none of a sum.
    values: Vec<usize>,
}

struct Shelf {
    name: String,
    total: u64,
    free: u64,
    /// Values of a pool in the order of the offer, and the places of the free ones, descending.
    values: Vec<String>,
    free_values: Vec<usize>,
    is_pool: bool,
}

/// What the relay may use and what of it is free.
pub struct Slots {
    free: Vec<u32>,
    total: usize,
    free_mib: u64,
    total_mib: u64,
    shelves: Vec<Shelf>,
}

impl Slots {
    /// All of it free; one entry per offered cpu, so that a core may stand twice.
    ///
    /// ```
    /// use hpc_executor::slots::{Asked, Slots};
    /// let mut slots = Slots::new(vec![0, 1, 0, 1], 0);
    /// let four = Asked { cpus: 4, ..Asked::default() };
    /// let all = slots.take(&four).unwrap();
    /// assert_eq!(all.cpus, [0, 0, 1, 1]);
    /// slots.give(all);
    /// assert!(slots.could_fit(&four).is_ok());
    /// assert!(slots.could_fit(&Asked { cpus: 5, ..four }).is_err());
    /// ```
    #[must_use]
    pub fn new(mut cpus: Vec<u32>, memory_mib: u64) -> Self {
        cpus.sort_unstable_by(|a, b| b.cmp(a)); // the lowest is taken from the end
        Self {
            total: cpus.len(),
            free: cpus,
            free_mib: memory_mib,
            total_mib: memory_mib,
            shelves: Vec::new(),
        }
    }

    /// Offers what has a name, all of it free; only while nothing is taken.
    pub fn stock(&mut self, offered: BTreeMap<String, Stock>) {
        self.shelves = offered.into_iter().map(Shelf::new).collect();
    }

    /// Whether it would fit if nothing else ran.
    ///
    /// # Errors
    /// A sentence that names what is asked for and what is offered of it.
    pub fn could_fit(&self, asked: &Asked) -> Result<(), String> {
        let (cpus, mib) = (asked.cpus, asked.mib);
        if cpus as usize > self.total || mib > self.total_mib {
            return Err(format!(
                "{cpus} cpus and {mib} MiB are more than this relay offers"
            ));
        }
        for (name, amount) in &asked.named {
            let Some(shelf) = self.shelves.iter().find(|shelf| shelf.name == *name) else {
                return Err(format!("`{name}` is nothing that this relay offers"));
            };
            if *amount > shelf.total {
                let total = shelf.total;
                return Err(format!("{amount} of `{name}`: this relay offers {total}"));
            }
        }
        Ok(())
    }

    /// Takes all that is asked for, if all of it is free now.
    ///
    /// ```
    /// use hpc_executor::slots::{Asked, Slots, Stock};
    /// let mut slots = Slots::new(vec![3, 0], 100);
    /// slots.stock([("gpus".to_owned(), Stock::Pool(vec!["a".to_owned()]))].into());
    /// let one = Asked { cpus: 1, mib: 60, named: [("gpus".to_owned(), 1)].into() };
    /// let first = slots.take(&one).unwrap();
    /// assert_eq!(first.cpus, [0]);
    /// assert_eq!(slots.shown(&first), [("gpus", "a".to_owned())]);
    /// assert!(slots.take(&one).is_none());
    /// slots.give(first);
    /// assert!(slots.take(&Asked { cpus: 2, mib: 100, ..one }).is_some());
    /// ```
    pub fn take(&mut self, asked: &Asked) -> Option<Taken> {
        let rest = self.free.len().checked_sub(asked.cpus as usize)?;
        let free_mib = self.free_mib.checked_sub(asked.mib)?;
        let mut places = Vec::with_capacity(asked.named.len());
        for (name, amount) in &asked.named {
            let place = self.shelves.iter().position(|shelf| shelf.name == *name)?;
            self.shelves
                .get(place)
                .filter(|shelf| *amount <= shelf.free)?;
            places.push((place, *amount));
        }
        self.free_mib = free_mib;
        let mut cpus = self.free.split_off(rest);
        cpus.reverse();
        let shares = places
            .into_iter()
            .filter_map(|(place, amount)| Some(self.shelves.get_mut(place)?.take(place, amount)))
            .collect();
        Some(Taken {
            cpus,
            mib: asked.mib,
            shares,
        })
    }

    /// Gives back what [`Slots::take`] gave.
    pub fn give(&mut self, taken: Taken) {
        self.free_mib += taken.mib;
        for cpu in taken.cpus {
            let place = self.free.partition_point(|free| *free > cpu);
            self.free.insert(place, cpu);
        }
        for share in taken.shares {
            if let Some(shelf) = self.shelves.get_mut(share.place) {
                shelf.give(share);
            }
        }
    }

    /// What a task has of each resource with a name: its values, or the amount of a sum.
    #[must_use]
    pub fn shown(&self, taken: &Taken) -> Vec<(&str, String)> {
        let shelves = taken.shares.iter();
        let shelves = shelves.filter_map(|share| Some((self.shelves.get(share.place)?, share)));
        shelves
            .map(|(shelf, share)| (shelf.name.as_str(), shelf.shown(share)))
            .collect()
    }
}

impl Shelf {
    fn new((name, stock): (String, Stock)) -> Self {
        let (total, values, is_pool) = match stock {
            Stock::Sum(total) => (total, Vec::new(), false),
            Stock::Pool(values) => (values.len() as u64, values, true),
        };
        Self {
            name,
            total,
            free: total,
            free_values: (0..values.len()).rev().collect(),
            values,
            is_pool,
        }
    }

    /// Takes what is known to be free.
    fn take(&mut self, place: usize, amount: u64) -> Share {
        self.free = self.free.saturating_sub(amount);
        let mut values = Vec::new();
        if self.is_pool {
            let count = usize::try_from(amount).unwrap_or(usize::MAX);
            values = self
                .free_values
                .split_off(self.free_values.len().saturating_sub(count));
            values.reverse();
        }
        Share {
            place,
            amount,
            values,
        }
    }

    fn give(&mut self, share: Share) {
        self.free += share.amount;
        for value in share.values {
            let place = self.free_values.partition_point(|free| *free > value);
            self.free_values.insert(place, value);
        }
    }

    fn shown(&self, share: &Share) -> String {
        if !self.is_pool {
            return share.amount.to_string();
        }
        let values = share.values.iter().filter_map(|at| self.values.get(*at));
        let values: Vec<&str> = values.map(String::as_str).collect();
        values.join(",")
    }
}
