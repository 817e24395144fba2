//! Expressions: what rules and resources read from one event, never from the state.

use super::json::Value;

/// Something that is read from one event: never from the state.
#[derive(Clone, Debug, PartialEq)]
pub enum Expression {
    /// `$ctx.x`.
    Ctx(String),
    /// `$spec.x`.
    Spec(String),
    /// `$kind`.
    Kind,
    /// `$seq`.
    Seq,
    /// `$at`.
    At,
    /// A constant.
    Literal(Value<'static>),
    /// A map of which at least one value is a reference; absent where one of them is.
    Map(Vec<(String, Expression)>),
}

impl Expression {
    /// Reads an expression; strings that begin with `$` are references.
    ///
    /// # Errors
    /// Says which references there are.
    pub fn parse(value: &Value<'_>) -> Result<Self, String> {
        if let Value::Map(map) = value {
            let parts = map
                .iter()
                .map(|(key, value)| Ok((key.to_owned(), Self::parse(value)?)));
            let parts = parts.collect::<Result<Vec<_>, String>>()?;
            let is_constant = parts
                .iter()
                .all(|(_, part)| matches!(part, Self::Literal(_)));
            if !is_constant {
                return Ok(Self::Map(parts));
            }
        }
        let Some(text) = value.as_str() else {
            return Ok(Self::Literal(value.clone().into_owned()));
        };
        let Some(reference) = text.strip_prefix('$') else {
            return Ok(Self::Literal(value.clone().into_owned()));
        };
        match reference.split_once('.') {
            Some(("ctx", key)) if !key.is_empty() => Ok(Self::Ctx(key.to_owned())),
            Some(("spec", key)) if !key.is_empty() => Ok(Self::Spec(key.to_owned())),
            None if reference == "kind" => Ok(Self::Kind),
            None if reference == "seq" => Ok(Self::Seq),
            None if reference == "at" => Ok(Self::At),
            _ => Err("$ctx.x, $spec.x, $kind, $seq, $at or a literal".to_owned()),
        }
    }
}
