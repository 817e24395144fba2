//! The canonical text of a batch's events, written once: digested, measured, and taken over into the
//! log where the check changes nothing.
//!
//! What came in canonical form has its text already; this is where the texts of all else lie.

use std::cell::OnceCell;
use std::ops::Range;

use super::entry::Digest;
use super::json::{Map, Value};

/// The text of a batch's events, with the places of what the log takes over.
#[derive(Debug)]
pub struct BatchText {
    text: String,
    places: Vec<Places>,
    /// The specs of events that the check has changed.
    changed: Vec<OnceCell<String>>,
}

/// Where one event lies in the text.
#[derive(Debug)]
struct Places {
    event: Range<usize>,
    ctx: Range<usize>,
    spec: Range<usize>,
}

impl BatchText {
    /// Writes the text of events as they were sent.
    #[must_use]
    pub fn write(events: &[Value<'_>]) -> Self {
        let mut text = Vec::with_capacity(events.len() * 192 + 2);
        let mut places = Vec::with_capacity(events.len());
        text.push(b'[');
        for (i, event) in events.iter().enumerate() {
            if i > 0 {
                text.push(b',');
            }
            places.push(write_event(event, &mut text));
        }
        text.push(b']');
        // The writer emits UTF-8 only.
        let text = String::from_utf8(text).unwrap_or_default();
        let changed = vec![OnceCell::new(); places.len()];
        Self {
            text,
            places,
            changed,
        }
    }

    /// The digest of the batch's content.
    #[must_use]
    pub fn digest(&self) -> Digest {
        *blake3::hash(self.text.as_bytes()).as_bytes()
    }

    /// The sizes of the events, in bytes.
    pub fn sizes(&self) -> impl Iterator<Item = usize> {
        self.places.iter().map(|places| places.event.len())
    }

    /// Gives maps that an event was sent with their texts, where they have none.
    pub fn lend<'t>(&'t self, index: usize, ctx: &mut Map<'t>, spec: &mut Map<'t>) {
        let Some(places) = self.places.get(index) else {
            return;
        };
        for (map, place) in [(ctx, &places.ctx), (spec, &places.spec)] {
            let text = self.text.get(place.clone()).unwrap_or_default();
            if map.text().is_none() && !text.is_empty() {
                map.set_text(text);
                debug_assert!(map.has_its_text());
            }
        }
    }

    /// Writes the text of an event's spec that has none, since the check has changed it, and keeps it:
    /// for who reads it more than once.
    pub fn keep<'t>(&'t self, index: usize, spec: &mut Map<'t>) -> &'t str {
        if let Some(text) = spec.text() {
            return text;
        }
        let Some(kept) = self.changed.get(index) else {
            return "";
        };
        let text = kept.get_or_init(|| spec.to_text());
        spec.set_text(text);
        debug_assert!(spec.has_its_text());
        text
    }
}

fn write_event(event: &Value<'_>, text: &mut Vec<u8>) -> Places {
    let start = text.len();
    let (mut ctx, mut spec) = (0..0, 0..0);
    match event {
        Value::Map(event) if event.text().is_none() => {
            event.write_each(text, |key, value, text| match (key, value) {
                ("payload", Value::Map(payload)) => payload.write_each(text, |key, value, text| {
                    let start = text.len();
                    value.write(text);
                    match key {
                        "ctx" => ctx = start..text.len(),
                        "spec" => spec = start..text.len(),
                        _ => {}
                    }
                }),
                _ => value.write(text),
            })
        }
        other => other.write(text),
    }
    Places {
        event: start..text.len(),
        ctx,
        spec,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::json::decode;

    #[test]
    fn an_event_and_its_parts_lie_where_the_text_says() {
        let sent = r#"[{"payload": {"spec": {"b": 1.0, "a": "ä\n"}, "ctx": {"ns_id": "x"}}, "kind": "K"},
                       {"kind": "K", "payload": {"ctx": {}}}, 7, {"payload": 1}]"#;
        let decoded = decode(sent.as_bytes()).unwrap_or(Value::Null);
        let events = decoded.as_list().unwrap_or_default();
        assert_eq!(events.len(), 4);
        let text = BatchText::write(events);
        assert_eq!(text.text, decoded.to_text());
        let sizes: Vec<usize> = text.sizes().collect();
        let written: Vec<usize> = events.iter().map(|event| event.to_text().len()).collect();
        assert_eq!(sizes, written);
        let lent = |index: usize| {
            let event = events.get(index).and_then(Value::as_map);
            let payload = event.and_then(|event| event.get("payload")?.as_map());
            let part = |key| payload.and_then(|payload| payload.get(key)?.as_map());
            let [mut ctx, mut spec] =
                ["ctx", "spec"].map(|key| part(key).cloned().unwrap_or_default());
            text.lend(index, &mut ctx, &mut spec);
            let text = |map: Map<'_>| map.text().map(str::to_owned);
            (text(ctx), text(spec))
        };
        let some = |text: &str| Some(text.to_owned());
        let spec = some(r#"{"a":"ä\n","b":1.0}"#);
        assert_eq!(lent(0), (some(r#"{"ns_id":"x"}"#), spec));
        assert_eq!(lent(1), (some("{}"), None));
        for other in 2..5 {
            assert_eq!(lent(other), (None, None));
        }
    }
}
