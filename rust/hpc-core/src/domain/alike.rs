//! Texts that are mostly alike, such as the specs of jobs: each as what it differs in from a model.
//!
//! A text is the beginning of its model, something of its own, and the end of its model: a hundred
//! thousand commands that differ in a number are so many numbers. (That is front coding, as of sorted
//! word lists, at both ends and against any text that came lately.) Who speaks of a model keeps it.

use hashbrown::HashTable;

use super::index::hash;
use super::texts::{Slab, Texts};

/// How many models a new text is held against, the one that was used last first.
const LATELY: usize = 16;
/// With no more of its own than this a text is alike enough, and no other model is looked at.
const OWN_FEW: usize = 24;
/// What is longer of its own is a model itself: so who keeps it knows how long it can be.
const OWN_MAX: usize = 1024;
/// A text that has fewer bytes is kept as it is: it would not be shorter.
const LENGTH_MIN: usize = 16;

/// A text, taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parts<'t> {
    /// The number of its model, from 1; 0 is none.
    pub model: u32,
    /// Bytes that are the beginning of the model.
    pub first: u32,
    /// Bytes that are the end of the model.
    pub last: u32,
    /// What stands between them.
    pub own: &'t str,
}

impl<'t> Parts<'t> {
    /// A text as it is.
    fn whole(text: &'t str) -> Self {
        Self {
            model: 0,
            first: 0,
            last: 0,
            own: text,
        }
    }

    /// A text by what it has in common with the model at a place.
    fn of(place: usize, text: &'t str, common: Common) -> Self {
        let Common { first, last } = common;
        let number = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        Self {
            model: number(place + 1),
            first: number(first),
            last: number(last),
            own: text.get(first..text.len() - last).unwrap_or_default(),
        }
    }
}

/// Models by number.
#[derive(Clone, Debug, Default)]
pub struct Models {
    texts: Texts,
    /// Places of those that were used lately.
    lately: Vec<usize>,
}

/// What a text has in common with a model: bytes of both ends.
#[derive(Clone, Copy)]
struct Common {
    first: usize,
    last: usize,
}

impl Common {
    /// With a model that is the text itself.
    fn all(text: &str) -> Self {
        Self {
            first: text.len(),
            last: 0,
        }
    }
}

/// Bytes that are compared at once.
const CHUNK: usize = 16;

/// How many bytes two texts have in common at their beginnings, whole characters.
fn common_first(a: &str, b: &str) -> usize {
    let (a_bytes, b_bytes) = (a.as_bytes(), b.as_bytes());
    let chunks = a_bytes.chunks_exact(CHUNK).zip(b_bytes.chunks_exact(CHUNK));
    let mut common = CHUNK * chunks.take_while(|(a, b)| a == b).count();
    let bytes = a_bytes.iter().zip(b_bytes).skip(common);
    common += bytes.take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(common) {
        common -= 1;
    }
    common
}

/// The same at their ends.
fn common_last(a: &str, b: &str) -> usize {
    let (a_bytes, b_bytes) = (a.as_bytes(), b.as_bytes());
    let chunks = a_bytes
        .rchunks_exact(CHUNK)
        .zip(b_bytes.rchunks_exact(CHUNK));
    let mut common = CHUNK * chunks.take_while(|(a, b)| a == b).count();
    let bytes = a_bytes.iter().rev().zip(b_bytes.iter().rev()).skip(common);
    common += bytes.take_while(|(a, b)| a == b).count();
    while !a.is_char_boundary(a.len() - common) {
        common -= 1;
    }
    common
}

impl Models {
    /// Takes a text apart; one more speaks of its model, which may be the text itself.
    pub fn take_apart<'t>(&mut self, text: &'t str) -> Parts<'t> {
        if text.len() < LENGTH_MIN {
            return Parts::whole(text);
        }
        if let Some(place) = self.texts.find(text) {
            return self.speak(place, text, Common::all(text));
        }
        let mut best: Option<(usize, usize, Common)> = None;
        for (nth, place) in self.lately.iter().enumerate() {
            let Some(common) = self.common(*place, text) else {
                continue;
            };
            let own = text.len() - common.first - common.last;
            if best.is_none_or(|(least, ..)| own < least) {
                best = Some((own, nth, common));
            }
            if own <= OWN_FEW {
                break;
            }
        }
        let alike = best.filter(|(own, ..)| 2 * own <= text.len() && *own <= OWN_MAX);
        let Some((_, nth, common)) = alike else {
            return self.make(text);
        };
        let place = self.lately.remove(nth);
        self.lately.insert(0, place);
        self.speak(place, text, common)
    }

    /// What a text and a model have in common; `None` of a model that would be kept for little.
    fn common(&self, place: usize, text: &str) -> Option<Common> {
        let model = self.texts.text(place);
        if model.len() > 2 * text.len() + LENGTH_MIN {
            return None;
        }
        let first = common_first(text, model);
        let last = common_last(text.get(first..)?, model.get(first..)?);
        Some(Common { first, last })
    }

    /// A text by a model, of which one more speaks.
    fn speak<'t>(&mut self, place: usize, text: &'t str, common: Common) -> Parts<'t> {
        self.texts.speak(place);
        Parts::of(place, text, common)
    }

    fn make<'t>(&mut self, text: &'t str) -> Parts<'t> {
        let place = self.texts.intern(text);
        self.lately.truncate(LATELY - 1);
        self.lately.insert(0, place);
        Parts::of(place, text, Common::all(text))
    }

    /// The beginning and the end of a text that come of its model.
    fn ends(&self, parts: &Parts<'_>) -> (&str, &str) {
        let place = parts.model.checked_sub(1);
        let text = place.map_or("", |place| self.texts.text(place as usize));
        let first = text.get(..parts.first as usize);
        let last = text.len().checked_sub(parts.last as usize);
        let last = last.and_then(|from| text.get(from..));
        (first.unwrap_or_default(), last.unwrap_or_default())
    }

    /// The text that was taken apart.
    #[must_use]
    pub fn whole(&self, parts: &Parts<'_>) -> String {
        let (first, last) = self.ends(parts);
        [first, parts.own, last].concat()
    }

    /// Whether that is a text.
    fn is(&self, parts: &Parts<'_>, text: &str) -> bool {
        let (first, last) = self.ends(parts);
        let rest = text.strip_prefix(first);
        rest.and_then(|rest| rest.strip_suffix(last)) == Some(parts.own)
    }

    /// One less speaks of a model; it is dropped with the last.
    pub fn release(&mut self, model: u32) {
        if let Some(place) = model.checked_sub(1).map(|place| place as usize)
            && self.texts.release(place)
        {
            self.lately.retain(|known| *known != place);
        }
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.texts.bytes()
    }
}

/// A text of few bytes lies where it is kept.
const HERE_MAX: usize = 22;

#[derive(Clone, Debug)]
enum Own {
    Here(u8, [u8; HERE_MAX]),
    There(Box<str>),
}

impl Own {
    fn new(text: &str) -> Self {
        let mut here = [0; HERE_MAX];
        match here.get_mut(..text.len()) {
            Some(place) => {
                place.copy_from_slice(text.as_bytes());
                Self::Here(text.len() as u8, here)
            }
            None => Self::There(text.into()),
        }
    }

    fn text(&self) -> &str {
        match self {
            Self::Here(length, here) => {
                let bytes = here.get(..usize::from(*length)).unwrap_or_default();
                std::str::from_utf8(bytes).unwrap_or_default()
            }
            Self::There(text) => text,
        }
    }
}

/// A longer text is kept as it is: there are few, and the others take less.
const LENGTH_MAX: usize = u16::MAX as usize;

#[derive(Clone, Debug)]
struct Text {
    model: u32,
    first: u16,
    last: u16,
    hash: u32,
    /// How many speak of it.
    speakers: u32,
    own: Own,
}

impl Text {
    fn parts(&self) -> Parts<'_> {
        Parts {
            model: self.model,
            first: self.first.into(),
            last: self.last.into(),
            own: self.own.text(),
        }
    }
}

/// The hash of a text as a table of them takes it: the upper bits count there too.
fn spread(hash: u32) -> u64 {
    u64::from(hash) << 32 | u64::from(hash)
}

/// Texts that are mostly alike, by place, equal ones once.
#[derive(Clone, Debug, Default)]
pub struct Alike {
    models: Models,
    texts: Slab<Text>,
    by_text: HashTable<u32>,
}

impl Alike {
    /// The place of a text, from 0; one more speaks of it.
    pub fn intern(&mut self, text: &str) -> usize {
        let hash = hash(text.as_bytes()) as u32;
        let Self {
            models,
            texts,
            by_text,
        } = self;
        let known = by_text.find(spread(hash), |place| {
            let known = texts.get(*place as usize);
            known.is_some_and(|known| known.hash == hash && models.is(&known.parts(), text))
        });
        if let Some(place) = known {
            let place = *place as usize;
            if let Some(known) = texts.get_mut(place) {
                known.speakers += 1;
            }
            return place;
        }
        let parts = match text.len() {
            ..=LENGTH_MAX => models.take_apart(text),
            _ => Parts::whole(text),
        };
        let place = texts.put(Text {
            model: parts.model,
            first: parts.first as u16,
            last: parts.last as u16,
            hash,
            speakers: 1,
            own: Own::new(parts.own),
        });
        let entry = u32::try_from(place).unwrap_or(u32::MAX);
        by_text.insert_unique(spread(hash), entry, |place| {
            let known = texts.get(*place as usize);
            known.map_or(0, |known| spread(known.hash))
        });
        place
    }

    /// The text at a place.
    #[must_use]
    pub fn text(&self, place: usize) -> String {
        let known = self.texts.get(place);
        known.map_or_else(String::new, |known| self.models.whole(&known.parts()))
    }

    /// One less speaks of a text; it is dropped with the last.
    pub fn release(&mut self, place: usize) {
        let Some(known) = self.texts.get_mut(place) else {
            return;
        };
        known.speakers -= 1;
        if known.speakers > 0 {
            return;
        }
        let (hash, model) = (known.hash, known.model);
        self.models.release(model);
        let entry = u32::try_from(place).unwrap_or(u32::MAX);
        if let Ok(found) = self
            .by_text
            .find_entry(spread(hash), |known| *known == entry)
        {
            found.remove();
        }
        self.texts.take(place);
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.by_text.is_empty()
    }

    /// About how many bytes they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.models.bytes() + self.texts.bytes() + self.by_text.capacity() * 5
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(n: u32) -> String {
        format!(r#"{{"args":["--seed={n}"],"command":"/bin/true","cpu":1}}"#)
    }

    #[test]
    fn alike_texts_are_what_they_differ_in() {
        let mut models = Models::default();
        let texts = [spec(17), spec(18), spec(17), spec(1_234_567)];
        let parts: Vec<_> = texts.iter().map(|text| models.take_apart(text)).collect();
        let own: Vec<&str> = parts.iter().map(|parts| parts.own).collect();
        assert_eq!(own, ["", "8", "", "23456"], "the rest is the model's");
        assert!(parts.iter().all(|parts| parts.model == 1));
        for (parts, text) in parts.iter().zip(&texts) {
            assert_eq!(&models.whole(parts), text);
        }
    }

    #[test]
    fn characters_are_not_cut() {
        // The second bytes of ä and ö, and the first ones of ä and ∂, differ.
        let texts = [
            "aaaaaaaaaaaaäbbbbbbbbbbbbb",
            "aaaaaaaaaaaaöbbbbbbbbbbbbb",
            "aaaaaaaaaaaa∂bbbbbbbbbbbbb",
            "aaaaaaaaaaaaĤbbbbbbbbbbbbb",
        ];
        let mut alike = Alike::default();
        let places = texts.map(|text| alike.intern(text));
        assert_eq!(places.map(|place| alike.text(place)), texts);
        assert_eq!(alike.models.texts.bytes(), {
            let mut one = Models::default();
            one.take_apart(texts[0]);
            one.texts.bytes()
        });
    }

    #[test]
    fn a_beginning_and_an_end_never_overlap() {
        let mut alike = Alike::default();
        let texts = [
            "abababababababababab",
            "ababababababababab",
            "abababababababababababab",
        ];
        let places = texts.map(|text| alike.intern(text));
        assert_eq!(places.map(|place| alike.text(place)), texts);
    }

    #[test]
    fn texts_that_have_nothing_in_common_come_back_too() {
        let mut alike = Alike::default();
        let texts: Vec<String> = (0..50_u8)
            .map(|n| char::from(b'A' + n).to_string().repeat(usize::from(n)))
            .collect();
        let places: Vec<usize> = texts.iter().map(|text| alike.intern(text)).collect();
        for (place, text) in places.iter().zip(&texts) {
            assert_eq!(&alike.text(*place), text);
        }
    }

    #[test]
    fn texts_of_many_kinds_in_turns_are_kept_by_few_models() {
        let mut models = Models::default();
        for n in 0..1_000 {
            let kind = n % 12;
            let text = format!(
                "{}{n}",
                char::from(b'a' + kind as u8).to_string().repeat(100)
            );
            let parts = models.take_apart(&text);
            assert_eq!(models.whole(&parts), text);
        }
        assert_eq!(models.texts.len(), 12, "one of each kind");
        // Of more kinds than are looked at, equal ones lie here once all the same.
        let mut models = Models::default();
        for n in 0..1_000 {
            let kind = char::from_u32(0x4e00 + n % 100).map(String::from);
            models.take_apart(&kind.unwrap_or_default().repeat(50));
        }
        assert_eq!(models.texts.len(), 100);
    }

    #[test]
    fn long_texts_come_back_too() {
        let mut alike = Alike::default();
        let texts = [LENGTH_MAX, LENGTH_MAX + 1, 3 * LENGTH_MAX].map(|length| "ab".repeat(length));
        let places = texts.each_ref().map(|text| alike.intern(text));
        assert!(places.map(|place| alike.text(place)) == texts);
        let mut models = Models::default();
        for text in &texts {
            let parts = models.take_apart(text);
            assert!(parts.own.len() <= OWN_MAX && models.whole(&parts) == *text);
        }
    }

    #[test]
    fn equal_texts_lie_here_once_and_a_model_leaves_with_the_last_who_speaks_of_it() {
        let mut alike = Alike::default();
        let (a, again, b) = (
            alike.intern(&spec(1)),
            alike.intern(&spec(1)),
            alike.intern(&spec(2)),
        );
        assert_eq!(a, again);
        alike.release(a);
        alike.release(a);
        assert_eq!(alike.text(b), spec(2), "its model is there still");
        let c = alike.intern(&spec(1));
        assert_eq!(alike.text(c), spec(1));
        alike.release(b);
        alike.release(c);
        assert!(alike.is_empty());
        assert!(alike.models.texts.is_empty());
        let d = alike.intern(&spec(3));
        assert_eq!(alike.text(d), spec(3), "no model that is gone is looked at");
    }
}
