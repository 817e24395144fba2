//! The bytes of one generator's facts: every cell with the seq at which it last changed.
//!
//! Cells stand in the order in which their rows were made, so facts that were made alike have equal
//! bytes. A column's name and a row's key stand once, before their first cell.

use crate::domain::facts::Facts;
use crate::lattice::Cell;
use crate::lattice::codec::{Codec as _, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// Appends facts; they end where their section ends.
pub fn encode(facts: &Facts, out: &mut Vec<u8>) {
    let mut columns: Vec<(String, String)> = Vec::new();
    let mut row: Option<(String, String)> = None;
    facts.each_cell(&mut |table, key, column, cell, changed| {
        let known = columns.iter().position(|(t, c)| t == table && c == column);
        put_uint(known.unwrap_or(columns.len()) as u64, out);
        if known.is_none() {
            put_bytes(table.as_bytes(), out);
            put_bytes(column.as_bytes(), out);
            columns.push((table.to_owned(), column.to_owned()));
        }
        let is_same = row.as_ref().is_some_and(|(t, k)| t == table && k == key);
        out.push(u8::from(!is_same));
        if !is_same {
            put_bytes(key.as_bytes(), out);
            let place = row.get_or_insert_default();
            for (mine, now) in [(&mut place.0, table), (&mut place.1, key)] {
                mine.clear();
                mine.push_str(now);
            }
        }
        put_uint(changed, out);
        cell.encode(out);
    });
}

/// Puts into facts what [`encode`] wrote; `head` is the seq at which they ended.
///
/// # Errors
/// Bytes that it never writes.
pub fn decode_into(
    facts: &mut Facts,
    head: u64,
    reader: &mut Reader<'_>,
) -> Result<(), DecodeError> {
    facts.restoring(head);
    let mut columns: Vec<(&str, &str)> = Vec::new();
    let mut key = None;
    while reader.remaining() > 0 {
        let index = usize::try_from(reader.uint()?).unwrap_or(usize::MAX);
        if index == columns.len() {
            columns.push((reader.text()?, reader.text()?));
        }
        let (table, column) = *columns
            .get(index)
            .ok_or_else(|| reader.refuse(DecodeReason::OutOfRange))?;
        if reader.flag()? {
            key = Some(reader.text()?);
        }
        let row = key.ok_or_else(|| reader.refuse(DecodeReason::NotCanonical))?;
        let changed = reader.uint()?;
        let cell = Cell::decode(reader)?;
        if changed > head || !facts.restore_cell(table, row, column, cell, changed) {
            return Err(reader.refuse(DecodeReason::OutOfRange));
        }
    }
    facts.restored();
    Ok(())
}
