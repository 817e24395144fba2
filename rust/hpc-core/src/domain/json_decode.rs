//! Decoding JSON strictly, in one pass, with the canonical text of what came as canonical text.
//!
//! Of our own because it is the first third of what an event costs: strings borrow from the body, and
//! a map that was sent in canonical form keeps its text, which then is not written a second time
//! (general decoders know neither). `tests/laws/json_decoding.rs` holds it against serde_json.

use std::borrow::Cow;

use super::json::{Map, Value};
use super::json_write::first_special;

/// The deepest nesting of lists and maps that is decoded.
pub const DEPTH_MAX: usize = 64;

/// Decodes one JSON value.
///
/// # Errors
/// A sentence that says what was wrong and where; the body is then a 400.
///
/// ```
/// use hpc_core::domain::json::decode;
/// assert_eq!(decode(br#"{"b":[1, 1.0],"a":"x"}"#).unwrap().to_text(), r#"{"a":"x","b":[1,1.0]}"#);
/// assert!(decode(br#"{"a":1,"a":2}"#).unwrap_err().contains("repeated key"));
/// assert!(decode(b"[1e400]").is_err());
/// ```
pub fn decode(body: &[u8]) -> Result<Value<'_>, String> {
    decode_whole(body, false, DEPTH_MAX)
}

/// Decodes an answer of ours, which may hold what was taken as deep as it may be.
///
/// # Errors
/// As [`decode`].
pub fn decode_answer(text: &[u8]) -> Result<Value<'_>, String> {
    decode_whole(text, false, 2 * DEPTH_MAX)
}

/// Decodes a text that this crate has written: its floats and escapes are known to be canonical, since
/// the canonical form is frozen (`tests/well_formed/frozen.rs`).
///
/// # Errors
/// As [`decode`].
pub fn decode_own(body: &[u8]) -> Result<Value<'_>, String> {
    decode_whole(body, true, DEPTH_MAX)
}

/// Decodes the value that a text of this crate begins with; also how many bytes it took.
///
/// # Errors
/// What is wrong: the text is damaged.
pub fn decode_first(bytes: &[u8]) -> Result<(Value<'_>, usize), String> {
    let mut decoder = Decoder::new(bytes, true);
    let value = decoder.value(0)?;
    Ok((value, decoder.at))
}

fn decode_whole(body: &[u8], is_own: bool, depth_max: usize) -> Result<Value<'_>, String> {
    let text = std::str::from_utf8(body).map_err(|e| {
        format!(
            "The body is not UTF-8: bad byte at offset {}",
            e.valid_up_to()
        )
    })?;
    let mut decoder = Decoder::new(body, is_own);
    decoder.depth_max = depth_max;
    decoder.text = Some(text);
    decoder.space();
    let value = decoder.value(0)?;
    decoder.space();
    if decoder.at < body.len() {
        return Err(decoder.refuse("nothing behind the value"));
    }
    Ok(value)
}

/// The most digits of an integer that 64 bits surely hold.
const SAFE_DIGITS: usize = 18;

struct Decoder<'b> {
    bytes: &'b [u8],
    /// The same, where all of it is known to be UTF-8.
    text: Option<&'b str>,
    at: usize,
    /// How often something came that canonical text would not have.
    deviations: usize,
    /// Whether floats and escapes are canonical as they stand.
    is_own: bool,
    depth_max: usize,
    /// The pairs and the items so far of what is open: each map and list is then made as large as it
    /// is, and a batch of a thousand events stays in the cache.
    pairs: Vec<(Cow<'b, str>, Value<'b>)>,
    items: Vec<Value<'b>>,
}

impl<'b> Decoder<'b> {
    fn new(bytes: &'b [u8], is_own: bool) -> Self {
        Self {
            bytes,
            text: None,
            at: 0,
            deviations: 0,
            is_own,
            depth_max: DEPTH_MAX,
            pairs: Vec::new(),
            items: Vec::new(),
        }
    }

    #[cold]
    fn refuse(&self, expected: &str) -> String {
        let before = self.bytes.get(..self.at).unwrap_or(self.bytes);
        let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
        let column = before.iter().rev().take_while(|b| **b != b'\n').count() + 1;
        let got = match self.peek() {
            None => "it ends".to_owned(),
            Some(byte @ 0x21..=0x7e) => format!("`{}` came", char::from(byte)),
            Some(byte) => format!("byte 0x{byte:02x} came"),
        };
        format!(
            "The body is not JSON: expected {expected} at line {line}, column {column}, but {got}"
        )
    }

    fn peek(&self) -> Option<u8> {
        self.bytes.get(self.at).copied()
    }

    fn eat(&mut self, byte: u8) -> bool {
        let is_there = self.peek() == Some(byte);
        self.at += usize::from(is_there);
        is_there
    }

    #[inline]
    fn space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
            self.deviations += 1;
        }
    }

    fn slice(&self, from: usize, to: usize) -> Result<&'b str, String> {
        let slice = match self.text {
            Some(text) => text.get(from..to),
            None => self
                .bytes
                .get(from..to)
                .and_then(|bytes| std::str::from_utf8(bytes).ok()),
        };
        slice.ok_or_else(|| self.refuse("text in UTF-8"))
    }

    fn value(&mut self, depth: usize) -> Result<Value<'b>, String> {
        match self.peek() {
            Some(b'"') => {
                self.at += 1;
                self.string().map(Value::Str)
            }
            Some(b'{') => {
                let depth = self.deeper(depth)?;
                self.at += 1;
                self.map(depth).map(Value::Map)
            }
            Some(b'[') => {
                let depth = self.deeper(depth)?;
                self.at += 1;
                self.list(depth).map(Value::List)
            }
            Some(b'-' | b'0'..=b'9') => self.number(),
            Some(b't') => self.word("true", Value::Bool(true)),
            Some(b'f') => self.word("false", Value::Bool(false)),
            Some(b'n') => self.word("null", Value::Null),
            _ => Err(self.refuse("a value")),
        }
    }

    fn deeper(&self, depth: usize) -> Result<usize, String> {
        let (at, most) = (self.at, self.depth_max);
        if depth < most {
            return Ok(depth + 1);
        }
        Err(format!(
            "The body is nested deeper than {most} levels at offset {at}"
        ))
    }

    fn word(&mut self, word: &str, value: Value<'static>) -> Result<Value<'b>, String> {
        let end = self.at + word.len();
        if self.bytes.get(self.at..end) != Some(word.as_bytes()) {
            return Err(self.refuse("a value"));
        }
        self.at = end;
        Ok(value)
    }

    fn list(&mut self, depth: usize) -> Result<Vec<Value<'b>>, String> {
        let base = self.items.len();
        self.space();
        if self.eat(b']') {
            return Ok(Vec::new());
        }
        loop {
            let item = self.value(depth)?;
            self.items.push(item);
            self.space();
            if self.eat(b',') {
                self.space();
            } else if self.eat(b']') {
                return Ok(self.items.drain(base..).collect());
            } else {
                return Err(self.refuse("`,` or `]`"));
            }
        }
    }

    /// The map whose brace was read.
    fn map(&mut self, depth: usize) -> Result<Map<'b>, String> {
        let (start, deviations) = (self.at - 1, self.deviations);
        let base = self.pairs.len();
        self.space();
        if !self.eat(b'}') {
            loop {
                if !self.eat(b'"') {
                    return Err(self.refuse("a key in quotes"));
                }
                let key = self.string()?;
                self.space();
                if !self.eat(b':') {
                    return Err(self.refuse("`:`"));
                }
                self.space();
                let value = self.value(depth)?;
                self.pairs.push((key, value));
                self.space();
                if self.eat(b',') {
                    self.space();
                } else if self.eat(b'}') {
                    break;
                } else {
                    return Err(self.refuse("`,` or `}`"));
                }
            }
        }
        let pairs = self.pairs.drain(base..).collect();
        let mut map = match Map::from_sorted(pairs) {
            Ok(map) => map,
            Err(pairs) => {
                self.deviations += 1;
                Map::from_pairs(pairs).map_err(|key| {
                    let at = self.at;
                    format!("The body is not JSON as expected: repeated key `{key}` in the map that ends at offset {at}")
                })?
            }
        };
        // Where all is known to be UTF-8: else each map within a map would be looked through again.
        if let Some(text) = self.text.filter(|_| self.deviations == deviations) {
            map.set_text(text.get(start..self.at).unwrap_or_default());
            debug_assert!(self.is_own || map.has_its_text());
        }
        Ok(map)
    }

    /// The string whose opening quote was read.
    fn string(&mut self) -> Result<Cow<'b, str>, String> {
        let start = self.at;
        self.plain()?;
        let plain = self.slice(start, self.at)?;
        if self.eat(b'"') {
            return Ok(Cow::Borrowed(plain));
        }
        self.deviations += usize::from(!self.is_own);
        let mut text = plain.to_owned();
        while !self.eat(b'"') {
            self.at += 1;
            text.push(self.escape()?);
            let start = self.at;
            self.plain()?;
            text.push_str(self.slice(start, self.at)?);
        }
        Ok(Cow::Owned(text))
    }

    /// Goes on to the next quote or backslash.
    #[inline]
    fn plain(&mut self) -> Result<(), String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        self.at += first_special(rest).unwrap_or(rest.len());
        match self.peek() {
            Some(b'"' | b'\\') => Ok(()),
            Some(_) => Err(self.refuse("a control character as an escape")),
            None => Err(self.refuse("the end of a string")),
        }
    }

    /// What an escape whose backslash was read stands for.
    fn escape(&mut self) -> Result<char, String> {
        let letter = self.peek();
        let escaped = match letter {
            Some(b'"') => '"',
            Some(b'\\') => '\\',
            Some(b'/') => '/',
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.unicode();
            }
            _ => return Err(self.refuse("an escape such as `\\n`")),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// The character of an escape in hexadecimal, of a pair of surrogates as well.
    fn unicode(&mut self) -> Result<char, String> {
        let first = self.hex()?;
        let code = match first {
            0xd800..=0xdbff => {
                let is_pair = self.eat(b'\\') && self.eat(b'u');
                match is_pair.then(|| self.hex()).transpose()? {
                    Some(second @ 0xdc00..=0xdfff) => {
                        0x1_0000 + ((first - 0xd800) << 10) + (second - 0xdc00)
                    }
                    _ => return Err(self.refuse("the second half of a surrogate pair")),
                }
            }
            code => code,
        };
        char::from_u32(code).ok_or_else(|| self.refuse("no lone surrogate before"))
    }

    fn hex(&mut self) -> Result<u32, String> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(|byte| char::from(byte).to_digit(16));
            let digit = digit.ok_or_else(|| self.refuse("four hexadecimal digits"))?;
            code = code << 4 | digit;
            self.at += 1;
        }
        Ok(code)
    }

    fn number(&mut self) -> Result<Value<'b>, String> {
        let start = self.at;
        let is_negative = self.eat(b'-');
        let digits_from = self.at;
        let mut n: i64 = 0;
        while let Some(digit @ b'0'..=b'9') = self.peek() {
            // Right up to the safe digits; read again where there are more.
            n = n.wrapping_mul(10).wrapping_add(i64::from(digit - b'0'));
            self.at += 1;
        }
        let digits = self.at - digits_from;
        if digits == 0 {
            return Err(self.refuse("a digit"));
        }
        if digits > 1 && self.bytes.get(digits_from) == Some(&b'0') {
            self.at = digits_from + 1;
            return Err(self.refuse("no digit behind a leading 0"));
        }
        match self.peek() {
            Some(b'.' | b'e' | b'E') => self.float(start),
            // An integer cannot say it; a float is what comes nearest.
            _ if is_negative && digits == 1 && n == 0 => {
                self.deviations += 1;
                Ok(Value::Float(0.0))
            }
            _ if digits <= SAFE_DIGITS => Ok(Value::Int(if is_negative { -n } else { n })),
            _ => {
                let text = self.slice(start, self.at)?;
                let int = text.parse().map(Value::Int);
                int.or_else(|_| text.parse().map(Value::Big))
                    .map_err(|_| format!("The integer at offset {start} does not fit in 64 bits"))
            }
        }
    }

    fn float(&mut self, start: usize) -> Result<Value<'b>, String> {
        if self.eat(b'.') {
            self.digits()?;
        }
        if self.eat(b'e') || self.eat(b'E') {
            let _ = self.eat(b'+') || self.eat(b'-');
            self.digits()?;
        }
        self.deviations += usize::from(!self.is_own);
        match self.slice(start, self.at)?.parse::<f64>() {
            Ok(x) if x.is_finite() => Ok(Value::Float(if x == 0.0 { 0.0 } else { x })),
            _ => Err(format!(
                "The body is not JSON as expected: the number at offset {start} is beyond what a float holds"
            )),
        }
    }

    fn digits(&mut self) -> Result<(), String> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start {
            return Err(self.refuse("a digit"));
        }
        Ok(())
    }
}
