//! map: a lattice at each key.
//!
//! | carrier                          | order     | bot  | join      | reading             |
//! |----------------------------------|-----------|------|-----------|---------------------|
//! | finite maps key → L without bots | pointwise | `{}` | pointwise | what each key holds |
//!
//! A key that holds the bottom of L says nothing and is not kept, so equal maps have equal bytes.
//! Keys are never removed: a table that must forget is an [`super::epoch`] of a map.
//! Related: the map lattice of Shapiro et al. (2011).

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;

use super::Lattice;
use super::codec::{Codec, DecodeError, DecodeReason, Reader, put_bytes, put_uint};

/// A lattice at each key.
///
/// ```
/// use hpc_core::lattice::{Lattice, map::MapOf, max::Max, value::Atom};
/// let mut peaks = MapOf::of("gpu0".into(), Max::of(Atom::Int(3)));
/// assert!(peaks.join(&MapOf::of("gpu1".into(), Max::of(Atom::Int(5)))));
/// assert!(!peaks.join(&MapOf::of("gpu0".into(), Max::of(Atom::Int(2)))));
/// assert_eq!(MapOf::of("gpu2".into(), Max::bot()), MapOf::bot()); // nothing was said
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct MapOf<L>(BTreeMap<Arc<str>, L>);

impl<L> Default for MapOf<L> {
    fn default() -> Self {
        Self(BTreeMap::new())
    }
}

impl<L: Lattice> MapOf<L> {
    /// An element at one key.
    #[must_use]
    pub fn of(key: Arc<str>, value: L) -> Self {
        Self::from_entry(key, value, |value| *value == L::bot())
    }
}

impl<L> MapOf<L> {
    /// An element at one key, by a test for the bottom.
    pub(super) fn from_entry(key: Arc<str>, value: L, is_bot: impl FnOnce(&L) -> bool) -> Self {
        let mut map = Self::default();
        if !is_bot(&value) {
            map.0.insert(key, value);
        }
        map
    }

    /// The keys with what they hold, in byte order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &L)> {
        self.0.iter().map(|(key, value)| (key.as_ref(), value))
    }

    /// What the first key holds.
    pub(super) fn any(&self) -> Option<&L> {
        self.0.values().next()
    }

    /// What a key holds, to be made to grow; `bot` where it holds nothing yet.
    pub fn at_mut(&mut self, key: &str, bot: impl FnOnce() -> L) -> &mut L {
        self.0.entry(key.into()).or_insert_with(bot)
    }
}

impl<L: Clone> MapOf<L> {
    /// Joins by a join of the inner elements that may refuse; then the keys before the one that
    /// refused have been joined.
    pub(super) fn try_join<E>(
        &mut self,
        other: &Self,
        mut join: impl FnMut(&mut L, &L) -> Result<bool, E>,
    ) -> Result<bool, E> {
        let mut grew = false;
        for (key, theirs) in &other.0 {
            grew |= match self.0.get_mut(key) {
                Some(mine) => join(mine, theirs)?,
                None => {
                    self.0.insert(key.clone(), theirs.clone());
                    true
                }
            };
        }
        Ok(grew)
    }

    /// The delta by a delta of the inner elements that may refuse.
    pub(super) fn try_delta<E>(
        &self,
        other: &Self,
        mut delta: impl FnMut(&L, &L) -> Result<L, E>,
        is_bot: impl Fn(&L) -> bool,
    ) -> Result<Self, E> {
        let mut found = BTreeMap::new();
        for (key, theirs) in &other.0 {
            let said = match self.0.get(key) {
                Some(mine) => delta(mine, theirs)?,
                None => theirs.clone(),
            };
            if !is_bot(&said) {
                found.insert(key.clone(), said);
            }
        }
        Ok(Self(found))
    }

    /// The decomposition by that of the inner elements.
    pub(super) fn parts(&self, parts: impl Fn(&L) -> Vec<L>) -> Vec<Self> {
        let at = |key: &Arc<str>, part| Self(BTreeMap::from([(key.clone(), part)]));
        self.0
            .iter()
            .flat_map(|(key, value)| parts(value).into_iter().map(move |part| at(key, part)))
            .collect()
    }
}

impl<L: Lattice> Lattice for MapOf<L> {
    fn bot() -> Self {
        Self::default()
    }

    fn join(&mut self, other: &Self) -> bool {
        let Ok(grew) = self.try_join(other, |mine, more| Ok::<_, Infallible>(mine.join(more)));
        grew
    }

    fn delta(&self, other: &Self) -> Self {
        let Ok(delta) = self.try_delta(
            other,
            |mine, more| Ok::<_, Infallible>(mine.delta(more)),
            |said| *said == L::bot(),
        );
        delta
    }

    fn irreducibles(&self) -> Vec<Self> {
        self.parts(L::irreducibles)
    }
}

impl<L: Codec + Lattice> Codec for MapOf<L> {
    fn encode(&self, out: &mut Vec<u8>) {
        encode(self, out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        decode(reader, |value: &L| *value == L::bot())
    }
}

pub(super) fn encode<L: Codec>(map: &MapOf<L>, out: &mut Vec<u8>) {
    put_uint(map.0.len() as u64, out);
    for (key, value) in &map.0 {
        put_bytes(key.as_bytes(), out);
        value.encode(out);
    }
}

/// Keys ascend, and none holds a bottom: another encoding would say the same.
pub(super) fn decode<L: Codec>(
    reader: &mut Reader<'_>,
    is_bot: impl Fn(&L) -> bool,
) -> Result<MapOf<L>, DecodeError> {
    let count = reader.uint()?;
    let mut map: BTreeMap<Arc<str>, L> = BTreeMap::new();
    for _ in 0..count {
        let key: Arc<str> = reader.text()?.into();
        let value = reader.nested(L::decode)?;
        let ascends = map.last_key_value().is_none_or(|(last, _)| *last < key);
        if !ascends || is_bot(&value) {
            return Err(reader.refuse(DecodeReason::NotCanonical));
        }
        map.insert(key, value);
    }
    Ok(MapOf(map))
}
