//! environment: the variables that a relay tells with each work, prepared once while they stay the same.
//!
//! Most works of a relay have the same ones: its own. So they are not read and copied for each.

use std::collections::HashMap;
use std::ffi::CString;
use std::sync::Arc;

use serde_json::value::RawValue;

/// Where the CUDA library reads which GPUs there are; none, where it is empty.
pub(crate) const CUDA_VARIABLE: &str = "CUDA_VISIBLE_DEVICES";

/// Begins the name of a variable that tells a task what it has of a resource.
pub(crate) const RESOURCE_PREFIX: &str = "HPC_RESOURCE_";

/// Variables that belong to us; what a work says about them is not passed on.
const OURS: [&str; 13] = [
    "HPC_TOKEN",
    "HPC_JOB_ID",
    "HPC_TASK_ID",
    "HPC_ATTEMPT",
    "HPC_NODE_ID",
    "HPC_CPUS",
    "HPC_MEMORY_MIB",
    "HPC_ENTRY",
    "HPC_GPUS",
    "HPC_EXIT_CODE",
    "HPC_SIGNAL",
    "HPC_CAUSE",
    crate::sweep::PLACE_VARIABLE,
];

/// Variables of a work, but for those that are ours.
#[derive(Default)]
pub struct Environment {
    /// `PATH`.
    pub path: Option<String>,
    /// `NAME=value` of `CUDA_VISIBLE_DEVICES`, which a task that has GPUs is told anew.
    pub cuda: Option<CString>,
    /// `NAME=value` of all others.
    pub variables: Vec<CString>,
}

impl Environment {
    /// Reads a JSON object of texts.
    ///
    /// # Errors
    /// A sentence: a name that no variable can have, a NUL byte, or no such object.
    pub fn parse(text: &str) -> Result<Self, String> {
        let told: HashMap<String, String> =
            serde_json::from_str(text).map_err(|error| format!("`env` is none: {error}"))?;
        let mut environment = Self::default();
        for (name, value) in told {
            if name.is_empty() || name.contains('=') {
                return Err(format!(
                    "`env` has a name that no variable can have: {name:?}"
                ));
            }
            if is_ours(&name) {
                continue;
            }
            let variable = CString::new(format!("{name}={value}"))
                .map_err(|_| "`env` holds a NUL byte".to_owned())?;
            if name == CUDA_VARIABLE {
                environment.cuda = Some(variable);
                continue;
            }
            environment.variables.push(variable);
            if name == "PATH" {
                environment.path = Some(value);
            }
        }
        Ok(environment)
    }
}

fn is_ours(variable: &str) -> bool {
    OURS.contains(&variable) || variable.starts_with(RESOURCE_PREFIX)
}

/// The environment that was told last.
#[derive(Default)]
pub struct Environments {
    text: String,
    last: Arc<Environment>,
}

impl Environments {
    /// What a work's `env` says; none says nothing.
    ///
    /// # Errors
    /// As [`Environment::parse`].
    pub fn of(&mut self, told: Option<&RawValue>) -> Result<Arc<Environment>, String> {
        let Some(told) = told else {
            return Ok(Arc::default());
        };
        if told.get() != self.text {
            self.last = Arc::new(Environment::parse(told.get())?);
            self.text.clear();
            self.text.push_str(told.get());
        }
        Ok(Arc::clone(&self.last))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // a test may stop at once
mod tests {
    use super::*;

    fn raw(text: &str) -> Box<RawValue> {
        RawValue::from_string(text.to_owned()).unwrap()
    }

    #[test]
    fn the_same_text_is_read_once_and_another_anew() {
        let mut environments = Environments::default();
        let text = raw(r#"{"PATH":"/bin","A":"1","HPC_TOKEN":"secret"}"#);
        let first = environments.of(Some(&text)).unwrap();
        assert_eq!(first.path.as_deref(), Some("/bin"));
        assert_eq!(first.variables.len(), 2);
        assert!(Arc::ptr_eq(&first, &environments.of(Some(&text)).unwrap()));

        let other = environments.of(Some(&raw(r#"{"A":"2"}"#))).unwrap();
        assert_eq!(other.variables, [c"A=2".to_owned()]);
        assert_eq!(other.path, None);
        assert!(environments.of(None).unwrap().variables.is_empty());
    }

    #[test]
    fn what_is_none_is_refused_each_time_and_the_last_stays() {
        let mut environments = Environments::default();
        let good = raw(r#"{"A":"1"}"#);
        let first = environments.of(Some(&good)).unwrap();
        for bad in [
            r#"{"":"1"}"#,
            r#"{"A=B":"1"}"#,
            r#"{"A":"\u0000"}"#,
            r#"{"A":1}"#,
            "[]",
        ] {
            assert!(environments.of(Some(&raw(bad))).is_err());
            assert!(environments.of(Some(&raw(bad))).is_err());
        }
        assert!(Arc::ptr_eq(&first, &environments.of(Some(&good)).unwrap()));
    }
}
