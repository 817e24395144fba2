//! Packed facts against plain cells: whatever is joined, in whichever form it lies in memory, a row
//! holds what joining the cells by themselves gives.

use std::collections::BTreeMap;

use hpc_core::domain::facts::{Column, Facts, RowOf};
use hpc_core::domain::json::decode;
use hpc_core::lattice::codec::Reader;
use hpc_core::lattice::epoch::Epoch;
use hpc_core::lattice::last::{Last, Stamp};
use hpc_core::lattice::map::MapOf;
use hpc_core::lattice::once::Once;
use hpc_core::lattice::tasks::TaskSet;
use hpc_core::lattice::{Atom, Cell, LatticeKind};
use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};

use super::{config, elements};

/// What is joined: table, row, column, cell.
type Said = (usize, u8, LatticeKind, Cell);

fn cells() -> BoxedStrategy<(LatticeKind, Cell)> {
    let within = || elements::max().prop_map(Cell::Max);
    let cells = prop_oneof![
        elements::max().prop_map(Cell::Max),
        elements::min().prop_map(Cell::Min),
        elements::or().prop_map(Cell::Or),
        elements::capped::<4>().prop_map(Cell::Once),
        elements::atoms().prop_map(|atom| Cell::Once(Once::of(atom))),
        elements::last().prop_map(Cell::Last),
        elements::set().prop_map(Cell::Set),
        elements::tasks().prop_map(Cell::Tasks),
        (0..12_u32, 0..4_u32).prop_map(|(at, n)| Cell::Tasks(TaskSet::range(at, at + n))),
        elements::count().prop_map(Cell::Count),
        elements::sum().prop_map(Cell::Sum),
        ((0..3_i64), within()).prop_map(|(at, cell)| Cell::from(Epoch::of(Atom::Int(at), cell))),
        ((0..3_u8), within()).prop_map(|(key, cell)| MapOf::from_cell(
            key.to_string().as_str().into(),
            cell
        )
        .into()),
        elements::finite().prop_map(Cell::Finite),
    ];
    cells.prop_map(|cell| (cell.kind(), cell)).boxed()
}

fn said() -> BoxedStrategy<Vec<Said>> {
    let one = (0..2_usize, 0..4_u8, cells());
    let one = one.prop_map(|(table, key, (kind, cell))| (table, key, kind, cell));
    prop::collection::vec(one, 0..60).boxed()
}

/// Two tables; every other column of the second is filled late.
fn empty() -> (Facts, Vec<Vec<Column>>) {
    let mut facts = Facts::new();
    let tables: [Vec<Column>; 2] = ["jobs", "nodes"].map(|table| {
        let kinds = LatticeKind::ALL.iter();
        kinds
            .map(|kind| facts.column(table, kind.wire(), *kind))
            .collect()
    });
    let [_, late] = &tables;
    for column in late.iter().step_by(2) {
        facts.fill_late(*column);
    }
    (facts, tables.to_vec())
}

/// Reads everything with pulls of a limit, overwriting cell by cell.
fn read_all(facts: &Facts, head: u64, limit: usize) -> String {
    let mut known: BTreeMap<String, BTreeMap<String, BTreeMap<String, String>>> = BTreeMap::new();
    let mut cursor = 0;
    loop {
        let page = facts.pull(cursor, head, limit, None);
        let tables = decode(page.facts.as_bytes()).unwrap();
        for (table, rows) in tables.as_map().unwrap().iter() {
            for (key, cells) in rows.as_map().unwrap().iter() {
                let row = known.entry(table.to_owned()).or_default();
                let row = row.entry(key.to_owned()).or_default();
                for (column, value) in cells.as_map().unwrap().iter() {
                    row.insert(column.to_owned(), value.to_text());
                }
            }
        }
        assert!(page.cursor > cursor || !page.more, "a page goes on");
        cursor = page.cursor;
        if !page.more {
            assert_eq!(cursor, head);
            return format!("{known:?}");
        }
    }
}

/// A pull of one row, and of one column of it, tells what the pull of everything tells of it.
fn check_row(
    facts: &Facts,
    (cursor, head): (u64, u64),
    (table, row): (&str, &str),
) -> Result<(), TestCaseError> {
    let whole = facts.pull(cursor, head, usize::MAX, None);
    let whole = decode(whole.facts.as_bytes()).unwrap();
    let rows = whole.as_map().unwrap().get(table);
    let cells = rows.and_then(|rows| rows.as_map().unwrap().get(row));
    let columns = LatticeKind::ALL.iter().map(|kind| Some(kind.wire()));
    for column in columns.chain([None]) {
        let page = facts.pull_row(cursor, head, RowOf { table, row, column });
        let told = cells.and_then(|cells| match column {
            None => Some(cells.to_text()),
            Some(column) => {
                let value = cells.as_map().unwrap().get(column)?;
                Some(format!("{{\"{column}\":{}}}", value.to_text()))
            }
        });
        let told = told.map_or("{}".to_owned(), |told| {
            format!("{{\"{table}\":{{\"{row}\":{told}}}}}")
        });
        let canonical = decode(page.facts.as_bytes()).unwrap().to_text();
        prop_assert_eq!(&canonical, &told);
        prop_assert_eq!((page.cursor, page.more), (head, false));
        prop_assert_eq!(page.rows, usize::from(told != "{}"));
    }
    Ok(())
}

#[test]
fn packed_facts_are_the_cells_joined() {
    TestRunner::new(config())
        .run(&(said(), 1..4_usize), |(said, limit)| {
            let (mut facts, columns) = empty();
            let mut plain: BTreeMap<(usize, u8, u8), (Cell, u64)> = BTreeMap::new();
            for (seq, (table, key, kind, cell)) in (1_u64..).zip(&said) {
                let column = columns[*table][*kind as usize];
                let row = key.to_string();
                let grew = facts.join(column, &row, cell, seq).unwrap();
                let place = (*table, *key, *kind as u8);
                let expected = match plain.get_mut(&place) {
                    Some((mine, changed)) => {
                        let grew = mine.join(cell).unwrap();
                        if grew {
                            *changed = seq;
                        }
                        grew
                    }
                    None if cell.is_bot() => false,
                    None => {
                        plain.insert(place, (cell.clone(), seq));
                        true
                    }
                };
                prop_assert_eq!(grew, expected, "{:?}", cell);
                let now = plain.get(&place).map(|(cell, _)| cell.clone());
                prop_assert_eq!(facts.get(column, &row), now);
            }
            let names = ["jobs", "nodes"];
            for ((table, key, kind), (cell, changed)) in &plain {
                let kind = LatticeKind::ALL[usize::from(*kind)];
                let found = facts.find(names[*table], &key.to_string(), kind.wire());
                prop_assert_eq!(found, Some((cell.clone(), *changed)));
            }
            let head = said.len() as u64;
            let whole = read_all(&facts, head, usize::MAX);
            prop_assert_eq!(&read_all(&facts, head, limit), &whole);
            // What is written down and put back is the same, for every cursor.
            let (mut again, _) = empty();
            let mut bytes = Vec::new();
            facts.encode(&mut bytes);
            let mut reader = Reader::new(&bytes);
            prop_assert_eq!(again.decode_into(head, &mut reader), Ok(()));
            prop_assert_eq!(reader.remaining(), 0);
            let mut bytes_again = Vec::new();
            again.encode(&mut bytes_again);
            prop_assert_eq!(bytes, bytes_again);
            for cursor in 0..=head {
                let (a, b) = (
                    facts.pull(cursor, head, limit, None),
                    again.pull(cursor, head, limit, None),
                );
                for (table, key) in plain.keys().map(|(table, key, _)| (names[*table], key)) {
                    check_row(&facts, (cursor, head), (table, &key.to_string()))?;
                }
                prop_assert_eq!(a, b, "from {}", cursor);
            }
            Ok(())
        })
        .unwrap();
}

#[test]
fn memory_follows_the_facts_and_not_the_log() {
    let mut facts = Facts::new();
    let last = facts.column("nodes", "message", LatticeKind::Last);
    let max = facts.column("nodes", "greatest", LatticeKind::Max);
    let tasks = facts.column("nodes", "tasks", LatticeKind::Tasks);
    let mut say = |seq: u64| {
        let stamp = Stamp {
            at: seq as i64,
            counter: 0,
        };
        let text = format!("a message that is as long as a message may well be, number {seq:09}");
        let atom = Atom::from(text.as_str());
        let node: &str = &format!("node-{seq}");
        let said = Last::of(stamp, node.into(), atom.clone());
        let greatest = hpc_core::lattice::max::Max::of(atom);
        // In an order that leaves gaps until the last is there.
        let task = (seq * 7 % 10_007) as u32;
        facts.join(last, "n", &Cell::Last(said), seq).unwrap();
        facts.join(max, "n", &Cell::Max(greatest), seq).unwrap();
        facts
            .join(tasks, "n", &Cell::Tasks(TaskSet::one(task)), seq)
            .unwrap();
        facts.bytes()
    };
    let few = (1..=100).map(&mut say).max().unwrap();
    let many = (101..=10_006).map(&mut say).last().unwrap();
    let done = say(10_007);
    assert!(many <= 2 * few, "{few} bytes became {many}");
    assert!(done <= 2 * few, "{few} bytes became {done}");
    assert_eq!(facts.rows(), 1);
}

#[test]
fn facts_of_a_long_log_are_put_back_as_they_were() {
    const FAR: u64 = 1 << 31;
    let make = || {
        let mut facts = Facts::new();
        let columns = ["a", "b"].map(|name| facts.column("t", name, LatticeKind::Max));
        (facts, columns)
    };
    let bytes = |facts: &Facts| {
        let mut bytes = Vec::new();
        facts.encode(&mut bytes);
        bytes
    };
    let (mut facts, columns) = make();
    // The fifth moves the base of the seqs on; the first row is said again before that.
    let seqs = [1, 2, 3, FAR + 9, 2 * FAR + 20, 2 * FAR + 21, 4 * FAR];
    for (n, seq) in (0_i64..).zip(seqs) {
        let max = Cell::Max(hpc_core::lattice::max::Max::of(Atom::Int(n)));
        let (mut again, _) = make();
        let before = bytes(&facts);
        let decoded = again.decode_into(seq - 1, &mut Reader::new(&before));
        assert_eq!(decoded, Ok(()), "before {seq}");
        assert_eq!(before, bytes(&again), "before {seq}");
        for facts in [&mut facts, &mut again] {
            let key = (n % 3).to_string();
            assert_eq!(facts.join(columns[0], &key, &max, seq), Ok(true));
            assert_eq!(facts.join(columns[1], "all", &max, seq), Ok(true));
        }
        assert_eq!(bytes(&facts), bytes(&again), "after {seq}");
        for cursor in [0, 1, 2, 3, FAR, 2 * FAR, seq - 1] {
            let (a, b) = (
                facts.pull(cursor, seq, 1, None),
                again.pull(cursor, seq, 1, None),
            );
            assert_eq!(a, b, "from {cursor} to {seq}");
        }
    }
}

/// A column that a program has added since is empty in what an older one wrote; columns that it does
/// not know are none of its facts.
#[test]
fn what_an_older_program_wrote_has_nothing_in_new_columns() {
    let make = |names: &[&str]| {
        let mut facts = Facts::new();
        let columns: Vec<Column> = names
            .iter()
            .map(|name| facts.column("t", name, LatticeKind::Max))
            .collect();
        (facts, columns)
    };
    let max = Cell::Max(hpc_core::lattice::max::Max::of(Atom::Int(7)));
    let written = |names: &[&str]| {
        let (mut facts, columns) = make(names);
        for (column, key) in columns.iter().zip(["x", "y", "z"]) {
            assert_eq!(facts.join(*column, key, &max, 3), Ok(true));
        }
        let mut bytes = Vec::new();
        facts.encode(&mut bytes);
        bytes
    };
    let (mut facts, columns) = make(&["a", "b", "c"]);
    let older = written(&["a", "b"]);
    assert_eq!(facts.decode_into(3, &mut Reader::new(&older)), Ok(()));
    assert_eq!(facts.get(columns[1], "y"), Some(max.clone()));
    assert_eq!(facts.get(columns[2], "x"), None);
    assert_eq!(facts.join(columns[2], "x", &max, 4), Ok(true));
    assert_eq!(facts.get(columns[2], "x"), Some(max.clone()));

    for newer in [&["a", "b", "c", "d"][..], &["b", "a"], &["a", "c"]] {
        let (mut facts, _) = make(&["a", "b", "c"]);
        let bytes = written(newer);
        assert!(facts.decode_into(3, &mut Reader::new(&bytes)).is_err());
    }
}
