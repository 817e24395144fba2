//! Reason: why a cell did not grow by what an event said of it, in a few words.

use crate::lattice::Cell;
use crate::lattice::last::Last;
use crate::lattice::value::Atom;

/// A value in a reason is cut after so many characters.
const SHOWN_CHARS_MAX: usize = 60;

/// Why a cell that was `before` did not grow by `said`.
pub(super) fn reason(said: &Cell, before: Option<&Cell>) -> String {
    if let Some(reason) = of_least(said) {
        return reason;
    }
    let Some(before) = before else {
        return "says nothing".to_owned(); // of more the cell would have grown
    };
    match (said, before) {
        (Cell::Epoch(said), Cell::Epoch(before)) => match (&said.0, &before.0) {
            (Some((at, said)), Some((now, before))) if at == now => reason(said, Some(before)),
            (Some((at, _)), Some((now, _))) => {
                format!("past epoch {}, the cell was in {}", atom(at), atom(now))
            }
            _ => "says nothing".to_owned(),
        },
        (Cell::Map(said), Cell::Map(before)) => {
            let at = |key: &str| {
                before
                    .iter()
                    .find_map(|(k, cell)| (k == key).then_some(cell))
            };
            let reasons = said
                .iter()
                .map(|(key, said)| format!("at `{key}`: {}", reason(said, at(key))));
            let reasons: Vec<String> = reasons.collect();
            if reasons.is_empty() {
                "says nothing".to_owned()
            } else {
                reasons.join("; ")
            }
        }
        (Cell::Last(said), Cell::Last(before)) => of_last(said, before),
        (Cell::Once(said), Cell::Once(before)) => {
            of_capped(said.values().iter().all(|v| before.contains(v)), 4)
        }
        (Cell::Set(said), Cell::Set(before)) => {
            of_capped(said.values().iter().all(|v| before.contains(v)), 1024)
        }
        (Cell::Tasks(_), _) => "said before".to_owned(),
        (said, before) if said == before => "said before".to_owned(),
        (said, before) => format!("says {}, the cell had {}", shown(said), shown(before)),
    }
}

/// The reason of what can make no cell grow.
fn of_least(said: &Cell) -> Option<String> {
    match said {
        Cell::Count(_) | Cell::Sum(_) => Some(format!("adds {}", said.to_json())),
        Cell::Tasks(tasks) if tasks.is_empty() => Some("says no task".to_owned()),
        Cell::Or(or) if !or.0 => Some("says false, which is the least".to_owned()),
        _ if said.is_bot() => Some("says the least that there is".to_owned()),
        _ => None,
    }
}

fn of_last(said: &Last, before: &Last) -> String {
    let (Some(said), Some(before)) = (said.said(), before.said()) else {
        return "says nothing".to_owned();
    };
    let why = if said == before {
        "said before"
    } else if said.stamp < before.stamp {
        "older stamp"
    } else if said.node < before.node {
        "same stamp, of a lesser node"
    } else {
        "same stamp and node, a lesser value"
    };
    why.to_owned()
}

fn of_capped(is_known: bool, kept: usize) -> String {
    if is_known {
        return "said before".to_owned();
    }
    format!("leaves the {kept} smallest, which are kept")
}

fn shown(cell: &Cell) -> String {
    cut(&cell.to_json())
}

fn atom(atom: &Atom) -> String {
    let mut out = Vec::new();
    atom.write_json(&mut out);
    cut(&String::from_utf8_lossy(&out))
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHOWN_CHARS_MAX {
        return text.to_owned();
    }
    let kept: String = text.chars().take(SHOWN_CHARS_MAX - 1).collect();
    format!("{kept}…")
}
