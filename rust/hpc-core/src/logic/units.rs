//! Memory and time as people read them, in the words of the command line's `units.py`.

/// MiB as people read them: 64 is `64 MiB`, 1536 is `1.5 GiB`.
pub(super) fn memory(mib: i64) -> String {
    #[expect(clippy::cast_precision_loss, reason = "one digit is shown")]
    let mut size = mib as f64;
    let mut unit = "MiB";
    for larger in ["GiB", "TiB"] {
        if size.abs() >= 1024.0 {
            (size, unit) = (size / 1024.0, larger);
        }
    }
    let text = format!("{size:.1}");
    format!("{} {unit}", text.strip_suffix(".0").unwrap_or(&text))
}

/// Seconds as people read them, the two largest units: 90 is `1 min 30 s`, 5400 is `1 h 30 min`.
pub(super) fn duration(seconds: i64) -> String {
    let mut left = seconds.max(0);
    let mut parts: Vec<String> = Vec::new();
    for (unit, size) in [("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)] {
        let count = left / size;
        left %= size;
        if count > 0 {
            parts.push(format!("{count} {unit}"));
        }
    }
    parts.truncate(2);
    match parts.is_empty() {
        true => "0 s".to_owned(),
        false => parts.join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::{duration, memory};

    #[test]
    fn amounts_are_said_as_the_command_line_says_them() {
        let memories = [64, 1023, 1024, 1536, 4000, 3 << 20].map(memory);
        assert_eq!(
            memories,
            ["64 MiB", "1023 MiB", "1 GiB", "1.5 GiB", "3.9 GiB", "3 TiB"]
        );
        let times = [-1, 59, 60, 2996, 5400, 90_061].map(duration);
        assert_eq!(
            times,
            [
                "0 s",
                "59 s",
                "1 min",
                "49 min 56 s",
                "1 h 30 min",
                "1 d 1 h"
            ]
        );
    }
}
