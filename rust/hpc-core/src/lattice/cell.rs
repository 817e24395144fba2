//! cell: one element of one of the lattices, of a kind that is known at run time.
//!
//! | carrier                       | order           | bot      | join                          |
//! |-------------------------------|-----------------|----------|-------------------------------|
//! | the disjoint sum of all kinds | within one kind | per kind | within one kind, else refused |
//!
//! What a row of a table holds. Generators are data, so the kind comes from a spec; registration
//! keeps one kind per column, and a mismatch is an error here, never a silent choice. A cell to
//! which nothing was said is absent from its row: the engine keeps no bottoms.
//!
//! The inner cells of epochs and maps must agree in kind also where the keys differ, and elements of
//! diagrams in the diagram. Otherwise the higher key would win in one order and be refused in
//! another, and join would not be associative.

use std::fmt;
use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader};
use super::count::Count;
use super::epoch::Epoch;
use super::finite::Finite;
use super::last::Last;
use super::map::MapOf;
use super::max::Max;
use super::min::Min;
use super::once::Once;
use super::or::Or;
use super::set::Set;
use super::sum::Sum;
use super::tasks::TaskSet;
use super::value::Atom;

/// Which lattice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
#[expect(missing_docs, reason = "each is described in the file of its name")]
pub enum LatticeKind {
    Max = 0,
    Min = 1,
    Or = 2,
    Once = 3,
    Last = 4,
    Set = 5,
    Tasks = 6,
    Count = 7,
    Sum = 8,
    Epoch = 9,
    Map = 10,
    Finite = 11,
}

impl LatticeKind {
    /// All kinds, in the order of their tags.
    pub const ALL: [Self; 12] = [
        Self::Max,
        Self::Min,
        Self::Or,
        Self::Once,
        Self::Last,
        Self::Set,
        Self::Tasks,
        Self::Count,
        Self::Sum,
        Self::Epoch,
        Self::Map,
        Self::Finite,
    ];

    /// The name on the wire.
    #[must_use]
    pub fn wire(self) -> &'static str {
        match self {
            Self::Max => "max",
            Self::Min => "min",
            Self::Or => "or",
            Self::Once => "once",
            Self::Last => "last",
            Self::Set => "set",
            Self::Tasks => "tasks",
            Self::Count => "count",
            Self::Sum => "sum",
            Self::Epoch => "epoch",
            Self::Map => "map",
            Self::Finite => "finite",
        }
    }

    /// The kind of that name on the wire.
    ///
    /// ```
    /// use hpc_core::lattice::LatticeKind;
    /// assert_eq!(LatticeKind::from_wire("once"), Some(LatticeKind::Once));
    /// assert_eq!(LatticeKind::from_wire("Once"), None);
    /// ```
    #[must_use]
    pub fn from_wire(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.wire() == name)
    }
}

impl fmt::Display for LatticeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.wire())
    }
}

/// Two cells of different lattices cannot be joined. Neither was changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindMismatch {
    /// The kind that the cell has.
    pub expected: LatticeKind,
    /// The kind that came.
    pub got: LatticeKind,
}

impl fmt::Display for KindMismatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { expected, got } = self;
        write!(f, "Cell is of lattice `{expected}`, got `{got}`")
    }
}

impl std::error::Error for KindMismatch {}

/// One element of one of the lattices.
///
/// ```
/// use hpc_core::lattice::{Cell, KindMismatch, LatticeKind, max::Max, or::Or, value::Atom};
/// let mut phase = Cell::Max(Max::of(Atom::Int(1)));
/// assert_eq!(phase.join(&Cell::Max(Max::of(Atom::Int(3)))), Ok(true));
/// assert_eq!(phase.to_json(), "3");
/// let got = LatticeKind::Or;
/// assert_eq!(phase.join(&Cell::Or(Or(true))), Err(KindMismatch { expected: phase.kind(), got }));
/// ```
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "each is described in the file of its name")]
pub enum Cell {
    Max(Max),
    Min(Min),
    Or(Or),
    Once(Once),
    Last(Last),
    Set(Set),
    Tasks(TaskSet),
    Count(Count),
    Sum(Sum),
    Epoch(Box<Epoch<Cell>>),
    Map(Box<MapOf<Cell>>),
    Finite(Finite),
}

/// Runs one expression on two cells of one kind, others on two epochs or maps; else the mismatch.
macro_rules! inside_both {
    (
        $cell:expr, $other:expr,
        ($a:ident, $b:ident) => $run:expr, epoch => $nested:expr, map => $mapped:expr
    ) => {
        match ($cell, $other) {
            (Cell::Max($a), Cell::Max($b)) => $run,
            (Cell::Min($a), Cell::Min($b)) => $run,
            (Cell::Or($a), Cell::Or($b)) => $run,
            (Cell::Once($a), Cell::Once($b)) => $run,
            (Cell::Last($a), Cell::Last($b)) => $run,
            (Cell::Set($a), Cell::Set($b)) => $run,
            (Cell::Tasks($a), Cell::Tasks($b)) => $run,
            (Cell::Count($a), Cell::Count($b)) => $run,
            (Cell::Sum($a), Cell::Sum($b)) => $run,
            (Cell::Epoch($a), Cell::Epoch($b)) => $nested,
            (Cell::Map($a), Cell::Map($b)) => $mapped,
            (Cell::Finite($a), Cell::Finite($b)) => $run,
            (mine, theirs) => Err(KindMismatch {
                expected: mine.kind(),
                got: theirs.kind(),
            }),
        }
    };
}

macro_rules! from_leaf {
    ($($lattice:ty => $kind:ident),* $(,)?) => {$(
        impl From<$lattice> for Cell {
            fn from(leaf: $lattice) -> Self {
                Self::$kind(leaf)
            }
        }
    )*};
}

from_leaf! {
    Max => Max, Min => Min, Or => Or, Once => Once, Last => Last, Set => Set, TaskSet => Tasks,
    Count => Count, Sum => Sum, Finite => Finite,
}

impl From<Epoch<Cell>> for Cell {
    fn from(epoch: Epoch<Cell>) -> Self {
        Self::Epoch(Box::new(epoch))
    }
}

impl MapOf<Cell> {
    /// A cell at one key.
    #[must_use]
    pub fn from_cell(key: Arc<str>, cell: Cell) -> Self {
        Self::from_entry(key, cell, Cell::is_bot)
    }
}

impl From<MapOf<Cell>> for Cell {
    fn from(map: MapOf<Cell>) -> Self {
        Self::Map(Box::new(map))
    }
}

impl Cell {
    /// The least element of a kind.
    #[must_use]
    pub fn bot(kind: LatticeKind) -> Self {
        match kind {
            LatticeKind::Max => Max::bot().into(),
            LatticeKind::Min => Min::bot().into(),
            LatticeKind::Or => Or::bot().into(),
            LatticeKind::Once => Once::bot().into(),
            LatticeKind::Last => Last::bot().into(),
            LatticeKind::Set => Set::bot().into(),
            LatticeKind::Tasks => TaskSet::bot().into(),
            LatticeKind::Count => Count::bot().into(),
            LatticeKind::Sum => Sum::bot().into(),
            LatticeKind::Epoch => Epoch::default().into(),
            LatticeKind::Map => MapOf::default().into(),
            LatticeKind::Finite => Finite::bot().into(),
        }
    }

    /// Its lattice.
    #[must_use]
    pub fn kind(&self) -> LatticeKind {
        match self {
            Self::Max(_) => LatticeKind::Max,
            Self::Min(_) => LatticeKind::Min,
            Self::Or(_) => LatticeKind::Or,
            Self::Once(_) => LatticeKind::Once,
            Self::Last(_) => LatticeKind::Last,
            Self::Set(_) => LatticeKind::Set,
            Self::Tasks(_) => LatticeKind::Tasks,
            Self::Count(_) => LatticeKind::Count,
            Self::Sum(_) => LatticeKind::Sum,
            Self::Epoch(_) => LatticeKind::Epoch,
            Self::Map(_) => LatticeKind::Map,
            Self::Finite(_) => LatticeKind::Finite,
        }
    }

    /// Whether it is the least element of its kind: nothing was said.
    #[must_use]
    pub fn is_bot(&self) -> bool {
        *self == Self::bot(self.kind())
    }

    /// Replaces `self` by `self ⊔ other`; returns whether it grew, exactly.
    ///
    /// # Errors
    /// The kinds differ, or those inside two epochs or maps do, or two diagrams. `self` is as
    /// before.
    pub fn join(&mut self, other: &Self) -> Result<bool, KindMismatch> {
        agree(self, other)?;
        inside_both!(self, other, (mine, theirs) => Ok(mine.join(theirs)), epoch => {
            mine.try_join(theirs, Self::join)
        }, map => mine.try_join(theirs, Self::join))
    }

    /// The least `d` with `self ⊔ d = self ⊔ other`; a minimal one past the cap of once and set.
    ///
    /// # Errors
    /// As [`Cell::join`].
    pub fn delta(&self, other: &Self) -> Result<Self, KindMismatch> {
        agree(self, other)?;
        inside_both!(self, other, (mine, theirs) => Ok(mine.delta(theirs).into()), epoch => {
            Ok(mine.try_delta(theirs, Self::join, Self::delta)?.into())
        }, map => Ok(mine.try_delta(theirs, Self::delta, Self::is_bot)?.into()))
    }

    /// Cells whose join is `self`, none of them to be spared, none the join of lesser ones.
    ///
    /// ```
    /// use hpc_core::lattice::{Cell, tasks::TaskSet};
    /// let two = Cell::from(TaskSet::parse("3,7").unwrap());
    /// let parts = [3, 7].map(|task| Cell::from(TaskSet::one(task)));
    /// assert_eq!(two.irreducibles(), parts);
    /// assert_eq!(Cell::from(TaskSet::new()).irreducibles(), []);
    /// ```
    #[must_use]
    pub fn irreducibles(&self) -> Vec<Self> {
        match self {
            Self::Max(max) => parts(max),
            Self::Min(min) => parts(min),
            Self::Or(or) => parts(or),
            Self::Once(once) => parts(once),
            Self::Last(last) => parts(last),
            Self::Set(set) => parts(set),
            Self::Tasks(tasks) => parts(tasks),
            Self::Count(count) => parts(count),
            Self::Sum(sum) => parts(sum),
            Self::Epoch(epoch) => all(epoch.parts(Self::irreducibles)),
            Self::Map(map) => all(map.parts(Self::irreducibles)),
            Self::Finite(element) => parts(element),
        }
    }

    /// Whether `self ≤ other`.
    ///
    /// # Errors
    /// As [`Cell::join`].
    pub fn leq(&self, other: &Self) -> Result<bool, KindMismatch> {
        Ok(!other.clone().join(self)?)
    }

    /// Whether values were left out, in it or inside its epoch.
    #[must_use]
    pub fn is_overflowed(&self) -> bool {
        match self {
            Self::Once(once) => once.is_overflowed(),
            Self::Set(set) => set.is_overflowed(),
            Self::Epoch(epoch) => epoch.value().is_some_and(Self::is_overflowed),
            Self::Map(map) => map.iter().any(|(_, cell)| cell.is_overflowed()),
            _ => false,
        }
    }

    /// Appends what a pull shows.
    ///
    /// Scalars are plain, once and set are lists in ascending order, tasks a range list as text,
    /// count and sum a number, an epoch `{"at":E,"value":V}`, a map an object, an element of a
    /// diagram its name. What was never said is null.
    pub fn write_json(&self, out: &mut Vec<u8>) {
        let scalar = |atom: Option<&Atom>, out: &mut Vec<u8>| match atom {
            Some(atom) => atom.write_json(out),
            None => out.extend_from_slice(b"null"),
        };
        match self {
            Self::Max(max) => scalar(max.value(), out),
            Self::Min(min) => scalar(min.value(), out),
            Self::Last(last) => scalar(last.value(), out),
            Self::Or(or) => Atom::Bool(or.0).write_json(out),
            Self::Once(once) => write_list(once.values(), out),
            Self::Set(set) => write_list(set.values(), out),
            Self::Tasks(tasks) => Atom::Str(tasks.to_string().into()).write_json(out),
            Self::Count(count) => Atom::Int(count.value()).write_json(out),
            Self::Sum(sum) => Atom::Int(sum.value()).write_json(out),
            Self::Epoch(epoch) => match &epoch.0 {
                None => out.extend_from_slice(b"null"),
                Some((at, value)) => {
                    out.extend_from_slice(b"{\"at\":");
                    at.write_json(out);
                    out.extend_from_slice(b",\"value\":");
                    value.write_json(out);
                    out.push(b'}');
                }
            },
            Self::Map(map) => {
                out.push(b'{');
                for (i, (key, cell)) in map.iter().enumerate() {
                    if i > 0 {
                        out.push(b',');
                    }
                    Atom::from(key).write_json(out);
                    out.push(b':');
                    cell.write_json(out);
                }
                out.push(b'}');
            }
            Self::Finite(element) => scalar(element.name().map(Atom::from).as_ref(), out),
        }
    }

    /// What a pull shows, as text.
    ///
    /// ```
    /// use hpc_core::lattice::{Cell, LatticeKind, epoch::Epoch, tasks::TaskSet, value::Atom};
    /// let tasks = Cell::from(TaskSet::range(0, 41));
    /// let round = Cell::from(Epoch::of(Atom::Int(1), tasks));
    /// assert_eq!(round.to_json(), r#"{"at":1,"value":"0-41"}"#);
    /// assert_eq!(Cell::bot(LatticeKind::Once).to_json(), "[]");
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut out = Vec::new();
        self.write_json(&mut out);
        String::from_utf8_lossy(&out).into_owned()
    }
}

fn parts<L: Lattice + Into<Cell>>(leaf: &L) -> Vec<Cell> {
    all(leaf.irreducibles())
}

fn all<L: Into<Cell>>(parts: Vec<L>) -> Vec<Cell> {
    parts.into_iter().map(Into::into).collect()
}

/// Whether two cells are of one kind, all the way down.
fn agree(mine: &Cell, theirs: &Cell) -> Result<(), KindMismatch> {
    let inner = match (mine, theirs) {
        (Cell::Epoch(mine), Cell::Epoch(theirs)) => mine.value().zip(theirs.value()),
        (Cell::Map(mine), Cell::Map(theirs)) => mine.any().zip(theirs.any()),
        (Cell::Finite(a), Cell::Finite(b)) if a.agrees(b) => None,
        (a, b) if a.kind() == b.kind() && a.kind() != LatticeKind::Finite => None,
        (a, b) => {
            return Err(KindMismatch {
                expected: a.kind(),
                got: b.kind(),
            });
        }
    };
    inner.map_or(Ok(()), |(mine, theirs)| agree(mine, theirs))
}

fn write_list(atoms: &[Atom], out: &mut Vec<u8>) {
    out.push(b'[');
    for (i, atom) in atoms.iter().enumerate() {
        if i > 0 {
            out.push(b',');
        }
        atom.write_json(out);
    }
    out.push(b']');
}

/// The tag of the kind, then the element's own bytes.
impl Codec for Cell {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(self.kind() as u8);
        match self {
            Self::Max(max) => max.encode(out),
            Self::Min(min) => min.encode(out),
            Self::Or(or) => or.encode(out),
            Self::Once(once) => once.encode(out),
            Self::Last(last) => last.encode(out),
            Self::Set(set) => set.encode(out),
            Self::Tasks(tasks) => tasks.encode(out),
            Self::Count(count) => count.encode(out),
            Self::Sum(sum) => sum.encode(out),
            Self::Epoch(epoch) => epoch.encode(out),
            Self::Map(map) => super::map::encode(map, out),
            Self::Finite(element) => element.encode(out),
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let tag = reader.byte()?;
        let Some(kind) = LatticeKind::ALL.get(usize::from(tag)) else {
            return Err(reader.refuse(DecodeReason::UnknownTag(tag)));
        };
        Ok(match kind {
            LatticeKind::Max => Max::decode(reader)?.into(),
            LatticeKind::Min => Min::decode(reader)?.into(),
            LatticeKind::Or => Or::decode(reader)?.into(),
            LatticeKind::Once => Once::decode(reader)?.into(),
            LatticeKind::Last => Last::decode(reader)?.into(),
            LatticeKind::Set => Set::decode(reader)?.into(),
            LatticeKind::Tasks => TaskSet::decode(reader)?.into(),
            LatticeKind::Count => Count::decode(reader)?.into(),
            LatticeKind::Sum => Sum::decode(reader)?.into(),
            LatticeKind::Epoch => Epoch::decode(reader)?.into(),
            LatticeKind::Map => super::map::decode(reader, Self::is_bot)?.into(),
            LatticeKind::Finite => Finite::decode(reader)?.into(),
        })
    }
}
