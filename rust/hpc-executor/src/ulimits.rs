//! ulimits: the limits of a process that a job asks for by name, as the kernel knows them.
//!
//! They are set in the child before its program runs ([`crate::sys::launch`]). `rss` has no name
//! here: Linux ignores that limit, and our marker stands in it ([`crate::reap`]).

use std::collections::HashMap;

use crate::sys;

/// A limit of the kernel's: its number, and what the soft limit becomes.
pub type Limit = (u32, u64);

/// What `unlimited` is to the kernel.
const UNLIMITED: u64 = libc::RLIM64_INFINITY;

const RESOURCES: [(&str, u32); 15] = [
    ("as", libc::RLIMIT_AS),
    ("core", libc::RLIMIT_CORE),
    ("cpu", libc::RLIMIT_CPU),
    ("data", libc::RLIMIT_DATA),
    ("fsize", libc::RLIMIT_FSIZE),
    ("locks", libc::RLIMIT_LOCKS),
    ("memlock", libc::RLIMIT_MEMLOCK),
    ("msgqueue", libc::RLIMIT_MSGQUEUE),
    ("nice", libc::RLIMIT_NICE),
    ("nofile", libc::RLIMIT_NOFILE),
    ("nproc", libc::RLIMIT_NPROC),
    ("rtprio", libc::RLIMIT_RTPRIO),
    ("rttime", libc::RLIMIT_RTTIME),
    ("sigpending", libc::RLIMIT_SIGPENDING),
    ("stack", libc::RLIMIT_STACK),
];

/// The limits of a work, in the kernel's words; `None` is unlimited.
///
/// # Errors
/// A sentence that names what the kernel does not know.
pub fn limits(named: &HashMap<String, Option<u64>>) -> Result<Vec<Limit>, String> {
    let number = |name: &str| RESOURCES.iter().find(|(known, _)| *known == name);
    named
        .iter()
        .map(|(name, value)| match number(name) {
            Some((_, resource)) => Ok((*resource, value.unwrap_or(UNLIMITED))),
            None => Err(format!("no limit of a process is called `{name}`")),
        })
        .collect()
}

/// Which of these cannot be set, as a sentence; `None` where none is above what may be set.
#[must_use]
pub fn refused(limits: &[Limit]) -> Option<String> {
    limits.iter().find_map(|(resource, value)| {
        let (name, _) = RESOURCES.iter().find(|(_, known)| known == resource)?;
        let hard = sys::hard_limit(*resource)?;
        (*value > hard).then(|| {
            format!(
                "ulimit `{name}` of {} is more than this relay may set: {}",
                told(*value),
                told(hard)
            )
        })
    })
}

fn told(value: u64) -> String {
    if value == UNLIMITED {
        "unlimited".to_owned()
    } else {
        value.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(name: &str, value: Option<u64>) -> HashMap<String, Option<u64>> {
        HashMap::from([(name.to_owned(), value)])
    }

    #[test]
    fn names_are_those_of_the_kernel_and_no_other() {
        let found = limits(&named("nofile", Some(64)));
        assert_eq!(found, Ok(vec![(libc::RLIMIT_NOFILE, 64)]));
        let found = limits(&named("core", None));
        assert_eq!(found, Ok(vec![(libc::RLIMIT_CORE, UNLIMITED)]));
        assert!(limits(&named("rss", Some(1))).is_err_and(|told| told.contains("`rss`")));
    }

    #[test]
    fn what_is_above_the_hard_limit_is_named_with_it() {
        // A process has fewer files than there are numbers, whoever starts it.
        let told = refused(&[(libc::RLIMIT_NOFILE, UNLIMITED)]);
        assert!(
            told.as_ref().is_some_and(|told| told.contains("`nofile`")),
            "{told:?}"
        );
        assert_eq!(refused(&[(libc::RLIMIT_NOFILE, 3)]), None);
    }
}
