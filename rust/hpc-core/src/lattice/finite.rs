//! finite: a lattice that is given as data, a diagram of what lies directly above what.
//!
//! | carrier                  | order       | bot        | join              | reading          |
//! |--------------------------|-------------|------------|-------------------|------------------|
//! | the names of the diagram | its closure | its bottom | least upper bound | the highest said |
//!
//! For phases that are not a line: `done` and `failed` both lie above `running`, and whoever says
//! both gets what lies above the two. A diagram is taken only if it is a join-semilattice with a
//! bottom, which is checked exhaustively: every pair has one least upper bound. From that follow
//! associativity, commutativity and idempotence (Davey and Priestley 2002, section 2). What is no
//! lattice is refused with the pair that shows it.
//!
//! Up-sets are bit masks, so the join of two elements is the one whose up-set is the intersection
//! of theirs.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// The most elements of a diagram.
pub const ELEMENTS_MAX: usize = 64;

/// A finite join-semilattice with a bottom.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Diagram {
    /// The elements in byte order of their names.
    names: Vec<Arc<str>>,
    /// For each the elements that are at least it, itself among them.
    above: Vec<u64>,
    bottom: usize,
}

/// Why a diagram is no lattice, with what shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoLattice {
    /// There are none, or more than [`ELEMENTS_MAX`].
    Elements(usize),
    /// Two elements each lie above the other.
    Cycle(String, String),
    /// Two elements have nothing below them: there is no bottom.
    TwoBottoms(String, String),
    /// Two elements have no upper bound.
    NoUpperBound(String, String),
    /// Two elements have upper bounds and among them no least: these two are minimal.
    NoLeast(String, String, [String; 2]),
}

impl fmt::Display for NoLattice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Elements(count) => {
                write!(f, "from 1 to {ELEMENTS_MAX} elements, got {count}")
            }
            Self::Cycle(a, b) => write!(f, "an order: `{a}` and `{b}` lie above each other"),
            Self::TwoBottoms(a, b) => {
                write!(f, "one bottom: nothing lies below `{a}`, nor below `{b}`")
            }
            Self::NoUpperBound(a, b) => {
                write!(
                    f,
                    "a join of every pair: nothing lies above both `{a}` and `{b}`"
                )
            }
            Self::NoLeast(a, b, [c, d]) => write!(
                f,
                "a least upper bound of every pair: above `{a}` and `{b}` lie `{c}` and `{d}`, and \
                 neither is the lesser"
            ),
        }
    }
}

impl Diagram {
    /// Checks a diagram: for each element those that lie directly above it. An element that stands
    /// only among those lies below nothing.
    ///
    /// # Errors
    /// The elements that show that it is no join-semilattice with a bottom.
    ///
    /// ```
    /// use hpc_core::lattice::finite::{Diagram, NoLattice};
    /// let fork = [("run", vec!["ok", "bad"])];
    /// let mut order = fork.into_iter().collect();
    /// let refused = Diagram::new(&order);
    /// assert_eq!(refused, Err(NoLattice::NoUpperBound("bad".into(), "ok".into())));
    /// order.extend([("ok", vec!["both"]), ("bad", vec!["both"])]);
    /// assert!(Diagram::new(&order).is_ok());
    /// ```
    pub fn new(order: &BTreeMap<&str, Vec<&str>>) -> Result<Self, NoLattice> {
        let lower = order.keys().copied();
        let upper = order.values().flatten().copied();
        let names: BTreeSet<&str> = lower.chain(upper).collect();
        if names.is_empty() || names.len() > ELEMENTS_MAX {
            return Err(NoLattice::Elements(names.len()));
        }
        let names: Vec<Arc<str>> = names.into_iter().map(Arc::from).collect();
        let index = |name: &str| names.binary_search_by(|known| (**known).cmp(name)).ok();
        let mut above: Vec<u64> = (0..names.len()).map(|i| 1 << i).collect();
        for (low, high) in order {
            let bits = high.iter().filter_map(|name| index(name));
            let bits = bits.fold(0, |bits, i| bits | 1 << i);
            if let Some(above) = index(low).and_then(|low| above.get_mut(low)) {
                *above |= bits;
            }
        }
        Self::checked(names, close(above))
    }

    fn checked(names: Vec<Arc<str>>, above: Vec<u64>) -> Result<Self, NoLattice> {
        let named = |i: usize| names.get(i).map_or_else(String::new, ToString::to_string);
        let pairs = || (0..names.len()).flat_map(|a| (0..a).map(move |b| (b, a)));
        let up = |i: usize| above.get(i).copied().unwrap_or_default();
        for (a, b) in pairs() {
            if up(a) & 1 << b != 0 && up(b) & 1 << a != 0 {
                return Err(NoLattice::Cycle(named(a.min(b)), named(a.max(b))));
            }
        }
        // Whatever is below everything is the bottom.
        let is_minimal = |i: &usize| (0..names.len()).all(|j| j == *i || up(j) & 1 << *i == 0);
        let mut minimal = (0..names.len()).filter(is_minimal);
        let bottom = minimal.next().unwrap_or_default();
        if let Some(other) = minimal.next() {
            return Err(NoLattice::TwoBottoms(named(bottom), named(other)));
        }
        for (a, b) in pairs() {
            let bounds = up(a) & up(b);
            if bounds == 0 {
                return Err(NoLattice::NoUpperBound(named(a), named(b)));
            }
            if !above.contains(&bounds) {
                let members = (0..names.len()).filter(|i| bounds & 1 << i != 0);
                let minimal = |i: &usize| {
                    (0..names.len())
                        .all(|j| j == *i || bounds & 1 << j == 0 || up(j) & 1 << *i == 0)
                };
                let mut least = members.filter(minimal).map(named);
                let two = [(); 2].map(|()| least.next().unwrap_or_default());
                return Err(NoLattice::NoLeast(named(a), named(b), two));
            }
        }
        Ok(Self {
            names,
            above,
            bottom,
        })
    }

    /// The elements in byte order of their names.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(AsRef::as_ref)
    }

    fn index(&self, name: &str) -> Option<usize> {
        let found = self.names.binary_search_by(|known| (**known).cmp(name));
        found.ok()
    }

    fn join(&self, a: usize, b: usize) -> usize {
        let up = |i: usize| self.above.get(i).copied().unwrap_or_default();
        let bounds = up(a) & up(b);
        self.above
            .iter()
            .position(|above| *above == bounds)
            .unwrap_or(a)
    }

    fn join_all(&self, elements: &[usize]) -> usize {
        let joined = |a, b: &usize| self.join(a, *b);
        elements.iter().fold(self.bottom, joined)
    }

    /// The elements that are at most this one.
    fn below(&self, high: usize) -> impl Iterator<Item = usize> {
        (0..self.names.len()).filter(move |low| self.join(*low, high) == high)
    }
}

/// The transitive closure of what lies directly above what (Warshall).
fn close(mut above: Vec<u64>) -> Vec<u64> {
    for middle in 0..above.len() {
        let beyond = above.get(middle).copied().unwrap_or_default();
        for reach in &mut above {
            if *reach & 1 << middle != 0 {
                *reach |= beyond;
            }
        }
    }
    above
}

/// An element of a diagram; its bottom says nothing.
///
/// ```
/// use hpc_core::lattice::{Lattice, finite::{Diagram, Finite}};
/// # use std::sync::Arc;
/// let order = [("run", vec!["ok", "bad"]), ("ok", vec!["both"]), ("bad", vec!["both"])];
/// let diagram = Arc::new(Diagram::new(&order.into_iter().collect()).unwrap());
/// let of = |name| Finite::of(&diagram, name).unwrap();
/// let mut phase = of("ok");
/// assert!(!phase.join(&of("run")));
/// assert!(phase.join(&of("bad")));
/// assert_eq!(phase.name(), Some("both"));
/// assert_eq!(of("run"), Finite::bot());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Finite(Option<(Arc<Diagram>, usize)>);

impl Finite {
    /// The element of this name; `None` where the diagram has none.
    #[must_use]
    pub fn of(diagram: &Arc<Diagram>, name: &str) -> Option<Self> {
        let index = diagram.index(name)?;
        Some(Self(
            (index != diagram.bottom).then(|| (diagram.clone(), index)),
        ))
    }

    /// Its name; `None` at the bottom.
    #[must_use]
    pub fn name(&self) -> Option<&str> {
        let (diagram, index) = self.0.as_ref()?;
        diagram.names.get(*index).map(AsRef::as_ref)
    }

    /// Whether both are of one diagram, as far as they say so.
    #[must_use]
    pub fn agrees(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some((mine, _)), Some((theirs, _))) => mine == theirs,
            _ => true,
        }
    }
}

impl Lattice for Finite {
    fn bot() -> Self {
        Self(None)
    }

    fn join(&mut self, other: &Self) -> bool {
        let Some((diagram, theirs)) = &other.0 else {
            return false;
        };
        let Some((_, mine)) = &mut self.0 else {
            self.0.clone_from(&other.0);
            return true;
        };
        let joined = diagram.join(*mine, *theirs);
        std::mem::replace(mine, joined) != joined
    }

    /// The least of those that lead there, which are finitely many; they need not have a least
    /// one, then it is a minimal one: the first in byte order.
    fn delta(&self, other: &Self) -> Self {
        let Some((diagram, theirs)) = &other.0 else {
            return Self(None);
        };
        let mine = self.0.as_ref().map_or(diagram.bottom, |(_, mine)| *mine);
        let joined = diagram.join(mine, *theirs);
        if joined == mine {
            return Self(None);
        }
        let is_below = |low: usize, high: usize| diagram.join(low, high) == high;
        let leads = |i: &usize| diagram.join(mine, *i) == joined && is_below(*i, *theirs);
        let all: Vec<usize> = (0..diagram.names.len()).filter(leads).collect();
        let least = |i: &&usize| all.iter().all(|j| j == *i || !is_below(*j, **i));
        let index = all.iter().find(least).copied().unwrap_or(*theirs);
        Self((index != diagram.bottom).then(|| (diagram.clone(), index)))
    }

    /// Of the elements up to it that are no join of lesser ones, as few as lead to it.
    fn irreducibles(&self) -> Vec<Self> {
        let Some((diagram, index)) = &self.0 else {
            return Vec::new();
        };
        let join = |parts: &[usize]| diagram.join_all(parts);
        let below = diagram.below(*index);
        let is_irreducible = |i: &usize| {
            let lesser: Vec<usize> = diagram.below(*i).filter(|j| j != i).collect();
            join(&lesser) != *i
        };
        let mut kept: Vec<usize> = below.filter(is_irreducible).collect();
        // A diagram need not be distributive: what the others lead to already is spared, in byte
        // order of the names.
        for part in kept.clone() {
            let others: Vec<usize> = kept.iter().copied().filter(|i| *i != part).collect();
            if join(&others) == *index {
                kept = others;
            }
        }
        let of = |i| Self(Some((diagram.clone(), i)));
        kept.into_iter().map(of).collect()
    }
}

/// The diagram with each element, so that it can be read by itself.
impl Codec for Finite {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0.is_some()));
        if let Some((diagram, index)) = &self.0 {
            put_uint(diagram.names.len() as u64, out);
            for (name, above) in diagram.names.iter().zip(&diagram.above) {
                put_bytes(name.as_bytes(), out);
                put_uint(*above, out);
            }
            put_uint(*index as u64, out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        if !reader.flag()? {
            return Ok(Self(None));
        }
        let count = usize::try_from(reader.uint()?).unwrap_or(usize::MAX);
        if count == 0 || count > ELEMENTS_MAX {
            return Err(reader.refuse(DecodeReason::OutOfRange));
        }
        let (mut names, mut above) = (Vec::new(), Vec::new());
        for i in 0..count {
            let name: Arc<str> = reader.text()?.into();
            let up = reader.uint()?;
            let is_within = count == ELEMENTS_MAX || up >> count == 0;
            let ascends = names.last().is_none_or(|last| *last < name);
            if !is_within || !ascends || up & 1 << i == 0 {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            names.push(name);
            above.push(up);
        }
        let index = usize::try_from(reader.uint()?).unwrap_or(usize::MAX);
        let is_closed = close(above.clone()) == above;
        let diagram = Diagram::checked(names, above).ok();
        match diagram.filter(|d| is_closed && index < count && index != d.bottom) {
            Some(diagram) => Ok(Self(Some((Arc::new(diagram), index)))),
            None => Err(reader.refuse(DecodeReason::NotCanonical)),
        }
    }
}
