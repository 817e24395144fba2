//! Texts that many speak of, each once: whoever speaks of one keeps its place.

use hashbrown::HashTable;

use super::index::hash;

/// Things by place; a place that became free is used again.
#[derive(Clone, Debug)]
pub struct Slab<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self {
            things: Vec::new(),
            free: Vec::new(),
        }
    }
}

impl<T> Slab<T> {
    /// Puts a thing; its place.
    pub fn put(&mut self, thing: T) -> usize {
        if let Some(place) = self.free.pop() {
            let place = place as usize;
            if let Some(slot) = self.things.get_mut(place) {
                *slot = Some(thing);
            }
            return place;
        }
        self.things.push(Some(thing));
        self.things.len() - 1
    }

    /// The thing at a place.
    pub fn get(&self, place: usize) -> Option<&T> {
        self.things.get(place)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, place: usize) -> Option<&mut T> {
        self.things.get_mut(place)?.as_mut()
    }

    /// Takes the thing at a place; the place is free.
    pub fn take(&mut self, place: usize) -> Option<T> {
        let thing = self.things.get_mut(place)?.take()?;
        self.free.push(u32::try_from(place).unwrap_or(u32::MAX));
        Some(thing)
    }

    /// All things, by place.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.things.iter().flatten()
    }

    /// How many bytes it takes.
    pub fn bytes(&self) -> usize {
        self.things.capacity() * size_of::<Option<T>>() + self.free.capacity() * size_of::<u32>()
    }
}

#[derive(Clone, Debug)]
struct Text {
    text: Box<str>,
    /// How many speak of it.
    speakers: u32,
}

/// Texts by place.
#[derive(Clone, Debug, Default)]
pub struct Texts {
    texts: Slab<Text>,
    by_text: HashTable<u32>,
    text_bytes: usize,
}

impl Texts {
    /// The place of a text, from 0; one more speaks of it.
    pub fn intern(&mut self, text: &str) -> usize {
        let hashed = hash(text.as_bytes());
        let texts = &mut self.texts;
        let known = self.by_text.find(hashed, |place| {
            let known = texts.get(*place as usize);
            known.is_some_and(|known| &*known.text == text)
        });
        if let Some(place) = known {
            let place = *place as usize;
            if let Some(known) = texts.get_mut(place) {
                known.speakers += 1;
            }
            return place;
        }
        let place = texts.put(Text {
            text: text.into(),
            speakers: 1,
        });
        self.text_bytes += text.len();
        let entry = u32::try_from(place).unwrap_or(u32::MAX);
        self.by_text.insert_unique(hashed, entry, |place| {
            let known = texts.get(*place as usize);
            known.map_or(0, |known| hash(known.text.as_bytes()))
        });
        place
    }

    /// The place of a text that is here, without speaking of it.
    pub fn find(&self, text: &str) -> Option<usize> {
        let is_it = |place: &u32| self.text(*place as usize) == text;
        let found = self.by_text.find(hash(text.as_bytes()), is_it);
        found.map(|place| *place as usize)
    }

    /// One more speaks of the text at a place.
    pub fn speak(&mut self, place: usize) {
        if let Some(known) = self.texts.get_mut(place) {
            known.speakers += 1;
        }
    }

    /// The text at a place.
    pub fn text(&self, place: usize) -> &str {
        self.texts.get(place).map_or("", |known| &known.text)
    }

    /// One less speaks of a text; it is dropped with the last. Whether it was.
    pub fn release(&mut self, place: usize) -> bool {
        let Some(known) = self.texts.get_mut(place) else {
            return false;
        };
        known.speakers -= 1;
        if known.speakers > 0 {
            return false;
        }
        let hashed = hash(known.text.as_bytes());
        let entry = u32::try_from(place).unwrap_or(u32::MAX);
        if let Ok(found) = self.by_text.find_entry(hashed, |known| *known == entry) {
            found.remove();
        }
        if let Some(text) = self.texts.take(place) {
            self.text_bytes -= text.text.len();
        }
        true
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_text.len()
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts.bytes() + self.text_bytes + self.by_text.capacity() * 5
    }
}
