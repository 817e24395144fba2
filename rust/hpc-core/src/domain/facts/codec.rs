//! The bytes of one generator's facts: row by row, each cell with the seq at which it last changed,
//! counted from its table's base, so that what is put back counts on as it would have.
//!
//! Rows stand in the order in which they were made, so facts that were made alike have equal bytes.
//! The change log is not written: what it has of entries that are not stale follows from the cells.

use super::Facts;
use super::cells::put;
use super::scalar::Scalar;
use super::store::{self, ABSENT, Store};
use super::table::Table;
use crate::lattice::codec::{
    Codec as _, DecodeError, DecodeReason, Reader, put_bytes, put_int, put_uint,
};
use crate::lattice::last::Stamp;
use crate::lattice::{Cell, LatticeKind};

const FALSE: u8 = 0;
const TRUE: u8 = 1;
const INT: u8 = 2;
const FLOAT: u8 = 3;
const STR: u8 = 4;
const JSON: u8 = 5;
const RANGE: u8 = 6;
const LAST: u8 = 7;
const CELL: u8 = 8;

impl Facts {
    /// Appends the bytes; they say nothing of where they end.
    pub fn encode(&self, out: &mut Vec<u8>) {
        put_uint(self.tables.len() as u64, out);
        for table in &self.tables {
            put_bytes(table.name.as_bytes(), out);
            put_uint(table.columns.len() as u64, out);
            for (name, kind) in table.columns.iter().zip(&table.kinds) {
                put_bytes(name.as_bytes(), out);
                out.push(*kind as u8);
            }
            // 0 is none: a base that depended on rows which are gone would not be the log's.
            put_uint(table.base().map_or(0, |base| base.saturating_add(1)), out);
            put_uint(table.rows.len() as u64, out);
            for row in table.rows.ids() {
                put_bytes(table.rows.key(row).as_bytes(), out);
                for (column, kind) in table.kinds.iter().enumerate() {
                    let word = table.rows.cell(row, column).unwrap_or(ABSENT);
                    if word == ABSENT {
                        put_uint(0, out);
                        continue;
                    }
                    put_uint(u64::from(table.rows.changed(row, column)), out);
                    put_cell(&self.store, *kind, word, out);
                }
            }
        }
    }

    /// Fills facts without rows, of the same columns, with what [`Facts::encode`] wrote of facts that
    /// ended at `head`. An older program may have had fewer: new columns stand at the end of a table.
    ///
    /// # Errors
    /// Bytes that it never writes, or of other columns.
    pub fn decode_into(&mut self, head: u64, reader: &mut Reader<'_>) -> Result<(), DecodeError> {
        if reader.remaining() == 0 {
            return Ok(()); // of what was being built nothing is kept
        }
        let Self { tables, store } = self;
        for _ in 0..reader.length()? {
            let name = reader.text()?;
            let table = tables.iter_mut().find(|known| known.name == name);
            let table = table.ok_or_else(|| reader.refuse(DecodeReason::OutOfRange))?;
            let columns = decode_columns(table, reader)?;
            let base = reader.uint()?.checked_sub(1);
            table.restoring(base);
            let rows = reader.length()?;
            let Some(base) = base.or((rows == 0).then_some(0)) else {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            };
            for _ in 0..rows {
                let key = reader.text()?;
                let found = table.rows.find(key);
                if found.row.is_some() {
                    return Err(reader.refuse(DecodeReason::NotCanonical));
                }
                let row = table.rows.make(key, found);
                for column in 0..columns {
                    let changed = reader.uint32()?;
                    if base.saturating_add(changed.into()) > head {
                        return Err(reader.refuse(DecodeReason::OutOfRange));
                    }
                    if changed == 0 {
                        continue;
                    }
                    let kind = table.kinds.get(column).copied();
                    let word = take_cell(store, kind.unwrap_or(LatticeKind::Max), reader)?;
                    if let Some(mut cell) = table.rows.cell_mut(row, column)
                        && let Some(place) = cell.word()
                    {
                        *place = word;
                    }
                    table.restore(row, column, changed);
                }
            }
            table.restored();
        }
        Ok(())
    }
}

/// How many columns there are of a table: its first ones.
fn decode_columns(table: &Table, reader: &mut Reader<'_>) -> Result<usize, DecodeError> {
    let columns = reader.length()?;
    let mut are_known = columns <= table.columns.len() && table.rows.len() == 0;
    for column in 0..columns {
        let (name, kind) = (reader.text()?, reader.byte()?);
        are_known &= table.columns.get(column).is_some_and(|known| known == name);
        are_known &= table
            .kinds
            .get(column)
            .is_some_and(|known| *known as u8 == kind);
    }
    if are_known {
        Ok(columns)
    } else {
        Err(reader.refuse(DecodeReason::OutOfRange))
    }
}

fn put_cell(store: &Store, kind: LatticeKind, word: u64, out: &mut Vec<u8>) {
    let mut short = [0; 8];
    if kind == LatticeKind::Last {
        let (stamp, node, value) = store.last(word);
        if let Some(value) = store.scalar(value, &mut short) {
            out.push(LAST);
            put_int(stamp.at, out);
            put_uint(u64::from(stamp.counter), out);
            put_bytes(node.as_bytes(), out);
            put_scalar(&value, out);
        }
    } else if let Some(value) = store.scalar(word, &mut short) {
        put_scalar(&value, out);
    } else if let Some((first, last)) = store::range(word) {
        out.push(RANGE);
        put_uint(u64::from(first), out);
        put_uint(u64::from(last), out);
    } else if let Some(cell) = store.cell(word) {
        out.push(CELL);
        cell.encode(out);
    }
}

fn put_scalar(value: &Scalar<'_>, out: &mut Vec<u8>) {
    match value {
        Scalar::Bool(flag) => out.push(if *flag { TRUE } else { FALSE }),
        Scalar::Int(int) => {
            out.push(INT);
            put_int(*int, out);
        }
        Scalar::Float(float) => {
            out.push(FLOAT);
            out.extend_from_slice(&float.to_bits().to_le_bytes());
        }
        Scalar::Str(text) => {
            out.push(STR);
            put_bytes(text.as_bytes(), out);
        }
        Scalar::Json(text) => {
            out.push(JSON);
            put_bytes(text.as_bytes(), out);
        }
    }
}

fn take_cell(
    store: &mut Store,
    kind: LatticeKind,
    reader: &mut Reader<'_>,
) -> Result<u64, DecodeError> {
    let is_value = matches!(
        kind,
        LatticeKind::Max | LatticeKind::Min | LatticeKind::Or | LatticeKind::Once
    );
    let tag = reader.byte()?;
    match tag {
        LAST if kind == LatticeKind::Last => {
            let stamp = Stamp {
                at: reader.int()?,
                counter: reader.uint32()?,
            };
            let node = reader.text()?;
            let tag = reader.byte()?;
            let value = take_scalar(tag, reader)?;
            Ok(store.put_last(ABSENT, stamp, node, &value))
        }
        RANGE if kind == LatticeKind::Tasks => {
            let (first, last) = (reader.uint32()?, reader.uint32()?);
            if first > last || last > crate::lattice::tasks::TASK_MAX {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            }
            Ok(store::of_range(first, last))
        }
        CELL => {
            let cell = Cell::decode(reader)?;
            if cell.kind() != kind || cell.is_bot() {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            }
            Ok(put(store, cell))
        }
        tag if is_value => {
            let value = take_scalar(tag, reader)?;
            Ok(store.word(&value))
        }
        tag => Err(reader.refuse(DecodeReason::UnknownTag(tag))),
    }
}

fn take_scalar<'b>(tag: u8, reader: &mut Reader<'b>) -> Result<Scalar<'b>, DecodeError> {
    Ok(match tag {
        FALSE => Scalar::Bool(false),
        TRUE => Scalar::Bool(true),
        INT => Scalar::Int(reader.int()?),
        FLOAT => {
            let float = f64::from_bits(u64::from_le_bytes(reader.array()?));
            if !float.is_finite() {
                return Err(reader.refuse(DecodeReason::OutOfRange));
            }
            Scalar::Float(float + 0.0)
        }
        STR => Scalar::Str(reader.text()?),
        JSON => {
            // Not parsed: a snapshot is verified by its hashes before it is read.
            let text = reader.text()?;
            if !text.starts_with(['[', '{']) {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            Scalar::Json(text.into())
        }
        tag => return Err(reader.refuse(DecodeReason::UnknownTag(tag))),
    })
}
