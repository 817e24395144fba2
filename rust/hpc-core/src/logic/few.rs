//! A map of few keys: a sorted list of exactly as many pairs.
//!
//! A tree takes room for eleven pairs for its first; a Hub keeps a million jobs that are queued, and
//! what they have of these is one pair. What may be many (attempts, entries) is a tree.

use crate::lattice::codec::{Codec, DecodeError, DecodeReason, Reader, put_uint};

/// Pairs in ascending order of their keys, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Few<K, V>(Vec<(K, V)>);

impl<K, V> Default for Few<K, V> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// Makes room for one more: no more than that while they are few, else growing would copy them all
/// each time.
fn reserve<T>(pairs: &mut Vec<T>) {
    if pairs.len() < 8 {
        pairs.reserve_exact(1);
    }
}

impl<K: Ord, V> Few<K, V> {
    fn place(&self, key: &K) -> Result<usize, usize> {
        self.0.binary_search_by(|(known, _)| known.cmp(key))
    }

    /// Changes the value of a key; one that is not there begins as the default.
    pub fn change(&mut self, key: K, change: impl FnOnce(&mut V))
    where
        V: Default,
    {
        let place = self.place(&key).unwrap_or_else(|place| {
            reserve(&mut self.0);
            self.0.insert(place, (key, V::default()));
            place
        });
        if let Some((_, value)) = self.0.get_mut(place) {
            change(value);
        }
    }

    /// Keeps the pairs for which a function says so.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| keep(key, value));
    }

    /// The pairs, ascending.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (&K, &V)> {
        self.0.iter().map(|(key, value)| (key, value))
    }

    /// The values, in the order of their keys, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Whether there is no pair.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<K: Codec + Ord, V: Codec> Codec for Few<K, V> {
    fn encode(&self, out: &mut Vec<u8>) {
        put_uint(self.0.len() as u64, out);
        for (key, value) in &self.0 {
            key.encode(out);
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut pairs: Vec<(K, V)> = Vec::new();
        for _ in 0..reader.length()? {
            let key = K::decode(reader)?;
            if pairs.last().is_some_and(|(last, _)| *last >= key) {
                return Err(reader.refuse(DecodeReason::NotCanonical));
            }
            reserve(&mut pairs);
            pairs.push((key, V::decode(reader)?));
        }
        Ok(Self(pairs))
    }
}
