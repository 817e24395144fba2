//! Cells as words: joined, read, taken out and put back.
//!
//! One value, a range of tasks and a `last` are joined as they lie in their word and beside it;
//! whatever else a cell holds is joined by the lattice's own code.

use super::delta::Delta;
use super::scalar::Scalar;
use super::store::{self, ABSENT, Store};
use super::writer::Joined;
use crate::lattice::last::Last;
use crate::lattice::max::Max;
use crate::lattice::min::Min;
use crate::lattice::once::Once;
use crate::lattice::or::Or;
use crate::lattice::tasks::TaskSet;
use crate::lattice::{Cell, KindMismatch, Lattice as _, LatticeKind};

/// Joins what is said into the word of a cell of the same kind.
#[inline]
pub fn join_word(
    store: &mut Store,
    word: &mut u64,
    delta: &Delta<'_>,
) -> Result<Joined, KindMismatch> {
    let mut short = [0; 8];
    match delta {
        Delta::Value(kind, said) => join_value(store, word, *kind, said),
        Delta::Last(stamp, node, said) => {
            let (known_stamp, known_node, value) = store.last(*word);
            if let Some(known) = store.scalar(value, &mut short) {
                let order = (stamp, *node).cmp(&(&known_stamp, known_node));
                if order.then_with(|| said.cmp(&known)).is_le() {
                    return Ok(Joined::Same);
                }
            }
            *word = store.put_last(*word, *stamp, node, said);
            Ok(Joined::Grew)
        }
        Delta::Range(first, last) => {
            let Some(known) = store::range(*word) else {
                if *word == ABSENT {
                    *word = store::of_range(*first, *last);
                    return Ok(Joined::Grew);
                }
                let said = Cell::Tasks(TaskSet::range(*first, *last));
                let joined = join_aside(store, *word, &said)?;
                narrow(store, word);
                return Ok(joined);
            };
            if known.0 <= *first && *last <= known.1 {
                return Ok(Joined::Same);
            }
            if *first <= known.1.saturating_add(1) && known.0 <= last.saturating_add(1) {
                *word = store::of_range(known.0.min(*first), known.1.max(*last));
                return Ok(Joined::Grew);
            }
            let mut tasks = TaskSet::range(known.0, known.1);
            tasks.join(&TaskSet::range(*first, *last));
            *word = store.keep(Cell::Tasks(tasks));
            Ok(Joined::GrewWide)
        }
        Delta::Cell(said) => {
            if store.cell(*word).is_some() {
                let joined = join_aside(store, *word, said)?;
                narrow(store, word);
                return Ok(joined);
            }
            let mut cell = read(store, said.kind(), *word);
            let grew = match &mut cell {
                Some(cell) => cell.join(said)?,
                None => {
                    cell = Some(said.as_ref().clone());
                    true
                }
            };
            if let (true, Some(cell)) = (grew, cell) {
                store.release(*word);
                *word = put(store, cell);
                return Ok(Joined::GrewWide);
            }
            Ok(Joined::Same)
        }
    }
}

/// Joins one value of `max`, `min`, `or` or `once` into the word of a cell of the same kind.
#[inline]
pub fn join_value(
    store: &mut Store,
    word: &mut u64,
    kind: LatticeKind,
    said: &Scalar<'_>,
) -> Result<Joined, KindMismatch> {
    if *word == ABSENT {
        *word = store.word(said);
        return Ok(Joined::Grew);
    }
    let mut short = [0; 8];
    let Some(known) = store.scalar(*word, &mut short) else {
        return join_aside(store, *word, &single(kind, said));
    };
    let grows = match kind {
        LatticeKind::Max => *said > known,
        LatticeKind::Min => *said < known,
        LatticeKind::Once if *said != known => {
            let mut once = Cell::Once(Once::of(known.to_atom()));
            once.join(&single(kind, said))?;
            store.release(*word);
            *word = store.keep(once);
            return Ok(Joined::GrewWide);
        }
        _ => false, // an `or` is true already
    };
    if grows {
        store.release(*word);
        *word = store.word(said);
        return Ok(Joined::Grew);
    }
    Ok(Joined::Same)
}

/// Joins into a cell that lies beside the rows.
pub fn join_aside(store: &mut Store, word: u64, said: &Cell) -> Result<Joined, KindMismatch> {
    let grew = match store.cell_mut(word) {
        Some(cell) => cell.join(said)?,
        None => false,
    };
    Ok(if grew { Joined::GrewWide } else { Joined::Same })
}

/// Makes a word of tasks again of what has no gaps any more: else an array whose tasks end in any
/// order would keep its bitmap for ever.
pub fn narrow(store: &mut Store, word: &mut u64) {
    if let Some(Cell::Tasks(tasks)) = store.cell(*word)
        && let Some((first, last)) = tasks.as_range()
    {
        store.release(*word);
        *word = store::of_range(first, last);
    }
}

pub fn single(kind: LatticeKind, said: &Scalar<'_>) -> Cell {
    let atom = said.to_atom();
    match kind {
        LatticeKind::Max => Max::of(atom).into(),
        LatticeKind::Min => Min::of(atom).into(),
        LatticeKind::Or => Or(true).into(),
        _ => Once::of(atom).into(),
    }
}

/// The cell that a word stands for.
pub fn read(store: &Store, kind: LatticeKind, word: u64) -> Option<Cell> {
    let mut short = [0; 8];
    if kind == LatticeKind::Last {
        let (stamp, node, value) = store.last(word);
        let value = store.scalar(value, &mut short)?;
        return Some(Last::of(stamp, node.into(), value.to_atom()).into());
    }
    if let Some(value) = store.scalar(word, &mut short) {
        return Some(single(kind, &value));
    }
    if let Some((first, last)) = store::range(word) {
        return Some(Cell::Tasks(TaskSet::range(first, last)));
    }
    store.cell(word).cloned()
}

/// Takes the cell out of its word, which then stands for nothing.
pub fn take(store: &mut Store, kind: LatticeKind, word: &mut u64) -> Option<Cell> {
    let cell = match store.cell_mut(*word) {
        // Moved and not copied: what is put back is the same, or more.
        Some(cell) => Some(std::mem::replace(cell, Or(false).into())),
        None => read(store, kind, *word),
    };
    store.release(*word);
    *word = ABSENT;
    cell
}

/// The word of a cell.
pub fn put(store: &mut Store, cell: Cell) -> u64 {
    match Delta::of(&cell) {
        Delta::Cell(_) => store.keep(cell),
        // Into what is absent every delta goes without being joined.
        delta => {
            let mut word = ABSENT;
            let joined = join_word(store, &mut word, &delta);
            debug_assert!(joined.is_ok());
            word
        }
    }
}
