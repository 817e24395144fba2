//! work: what a relay asks the supervisor to execute, and how it is prepared once for many tasks.
//!
//! [`Work`] mirrors `hpc.domain.Work`. A [`Lot`] is one `Work` with everything that its tasks
//! share made into C strings, so that starting a task costs no more than what differs.

use std::collections::{BTreeMap, HashMap};
use std::ffi::CString;
use std::sync::Arc;

use hpc_core::lattice::tasks::TaskSet;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use crate::environment::{CUDA_VARIABLE, Environment, Environments, RESOURCE_PREFIX};
use crate::slots::Asked;
use crate::ulimits::{self, Limit};

/// The lease under which tasks were granted; stands in the ctx of their reports.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Lease {
    /// Namespace of the job.
    pub ns_id: String,
    /// Job.
    pub job_id: String,
    /// Attempt, from 1.
    pub attempt: u64,
    /// Epoch of the node.
    pub epoch: u64,
}

/// What to do with a task.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Start `argv`.
    #[default]
    Process,
    /// Finish at once with exit code 0.
    None,
}

/// What happens to a running task when the relay is cut off.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CutOff {
    /// It goes on.
    #[default]
    Finish,
    /// It is ended at the fence.
    Stop,
}

/// One grant, turned into what to execute; see `hpc.domain.Work` for the fields.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs)] // the Python class documents them
pub struct Work {
    pub job_id: String,
    pub ns_id: String,
    pub attempt: u64,
    pub epoch: u64,
    pub tasks: String,
    pub kind: Kind,
    #[serde(default)]
    pub argv: Vec<String>,
    #[serde(default)]
    pub args: Option<HashMap<String, Vec<String>>>,
    #[serde(default)]
    pub env: Option<Box<RawValue>>,
    #[serde(default)]
    pub cwd: Option<String>,
    #[serde(default)]
    pub stdin: Option<String>,
    #[serde(default)]
    pub stdout: Option<String>,
    #[serde(default)]
    pub stderr: Option<String>,
    #[serde(default = "one")]
    pub cpus: u32,
    #[serde(default)]
    pub memory_mib: Option<u64>,
    #[serde(default)]
    pub reserve_mib: u64,
    #[serde(default)]
    pub resources: BTreeMap<String, u64>,
    #[serde(default)]
    pub time_limit_s: Option<f64>,
    #[serde(default)]
    pub warn_signal: Option<i32>,
    #[serde(default)]
    pub warn_s: f64,
    #[serde(default)]
    pub output_limit: Option<u64>,
    #[serde(default)]
    pub umask: Option<u32>,
    #[serde(default)]
    pub ulimits: HashMap<String, Option<u64>>,
    #[serde(default = "five")]
    pub grace_s: f64,
    #[serde(default)]
    pub on_cut_off: CutOff,
    #[serde(default)]
    pub entries: Option<HashMap<String, Value>>,
}

fn one() -> u32 {
    1
}

fn five() -> f64 {
    5.0
}

/// Milliseconds of a number of seconds; nonsense and eternity become the ends of the range.
#[must_use]
pub fn seconds_to_ms(seconds: f64) -> u64 {
    // The cast saturates: NaN is 0, infinity the greatest number.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let ms = (seconds * 1000.0).ceil().min(1e15) as u64;
    ms
}

/// One `Work`, prepared; shared by its tasks.
pub struct Lot {
    /// Lease of all its tasks.
    pub lease: Arc<Lease>,
    /// As it came.
    pub work: Work,
    /// Paths that may be the program; empty where each task names its own.
    pub programs: Vec<CString>,
    /// Arguments that all tasks share: the first ones.
    pub argv: Vec<CString>,
    /// Variables of all its tasks, beside those that the relay has told.
    own: Vec<CString>,
    environment: Arc<Environment>,
    takes_gpus: bool,
    /// What each of its tasks takes.
    pub asked: Asked,
    /// `cwd` where the work names one.
    pub cwd: Option<CString>,
    /// stdin, or `/dev/null`.
    pub stdin: CString,
    /// Limits of its processes.
    pub limits: Vec<Limit>,
}

/// Who runs the tasks: what the environment tells them beside the work.
#[derive(Clone, Debug)]
pub struct Site {
    /// Node id.
    pub node_id: String,
    /// The relay folder's marker, by which a later start knows our processes.
    pub place: String,
    /// Whether the relay offers GPUs: then each task is told which are its own, also where none is.
    pub has_gpus: bool,
}

/// The resource whose values the CUDA library reads.
pub const GPUS: &str = "gpus";

const DEFAULT_PATH: &str = "/usr/local/bin:/usr/bin:/bin";

impl Work {
    /// The arguments of one task behind those that all share.
    ///
    /// # Errors
    /// A sentence: it has none where others have, or it names no program.
    pub fn args_of(&self, task: u32) -> Result<&[String], String> {
        let Some(args) = &self.args else {
            return Ok(&[]);
        };
        match args.get(&task.to_string()) {
            Some(args) if !self.argv.is_empty() || args.first().is_some_and(|p| !p.is_empty()) => {
                Ok(args)
            }
            Some(_) => Err("its program is an empty word".to_owned()),
            None => Err(format!("`args` has nothing for task {task}")),
        }
    }
}

/// Where a program of a work may lie.
///
/// # Errors
/// A sentence: no path holds a NUL byte.
fn programs(program: &str, environment: &Environment) -> Result<Vec<CString>, String> {
    let path = environment.path.as_deref().unwrap_or(DEFAULT_PATH);
    let paths = candidates(program, path).into_iter();
    let paths = paths.map(|path| CString::new(path).map_err(|_| nul("argv")));
    paths.collect()
}

fn nul(what: &str) -> String {
    format!("`{what}` holds a NUL byte")
}

impl Lot {
    /// Prepares a work.
    ///
    /// # Errors
    /// A sentence that says why no task of it can be started: it becomes the `detail` of their
    /// `refused`.
    pub fn new(
        mut work: Work,
        site: &Site,
        environments: &mut Environments,
    ) -> Result<Self, String> {
        let text = |what: &str, value: &str| CString::new(value).map_err(|_| nul(what));
        if !is_id(&work.job_id) {
            return Err(format!("`job_id` is no id: {:?}", work.job_id));
        }
        match (work.kind, work.argv.first(), &work.args) {
            (Kind::None, ..) | (Kind::Process, None, Some(_)) => {}
            (Kind::Process, Some(program), _) if !program.is_empty() => {}
            (Kind::Process, ..) => return Err("`argv` is empty".to_owned()),
        }
        // Taken: its text is not needed any more, and a lot may wait for long.
        let environment = environments.of(work.env.take().as_deref())?;
        let mut own = vec![
            text("job_id", &format!("HPC_JOB_ID={}", work.job_id))?,
            text("attempt", &format!("HPC_ATTEMPT={}", work.attempt))?,
            text("node_id", &format!("HPC_NODE_ID={}", site.node_id))?,
            text("cpus", &format!("HPC_CPUS={}", work.cpus))?,
            text(
                "memory",
                &format!(
                    "HPC_MEMORY_MIB={}",
                    work.memory_mib.unwrap_or(work.reserve_mib)
                ),
            )?,
            text(
                "place",
                &format!("{}={}", crate::sweep::PLACE_VARIABLE, site.place),
            )?,
        ];
        let takes_gpus = work.resources.get(GPUS).is_some_and(|count| *count > 0);
        if site.has_gpus && !takes_gpus {
            own.push(text("gpus", "HPC_GPUS=0")?);
            // A job that says it itself knows what it does; any other must not use what is leased
            // to somebody else.
            if environment.cuda.is_none() {
                own.push(text("gpus", &format!("{CUDA_VARIABLE}="))?);
            }
        }
        let programs = match work.argv.first() {
            Some(program) => programs(program, &environment)?,
            None => Vec::new(),
        };
        let argv = work.argv.iter().map(|a| text("argv", a));
        Ok(Self {
            lease: Arc::new(Lease {
                ns_id: work.ns_id.clone(),
                job_id: work.job_id.clone(),
                attempt: work.attempt,
                epoch: work.epoch,
            }),
            programs,
            argv: argv.collect::<Result<_, _>>()?,
            own,
            environment,
            takes_gpus,
            asked: asked_of(&work),
            cwd: work.cwd.as_deref().map(|p| text("cwd", p)).transpose()?,
            limits: ulimits::limits(&work.ulimits)?,
            stdin: text("stdin", work.stdin.as_deref().unwrap_or("/dev/null"))?,
            work,
        })
    }

    /// Where a program of one of its tasks may lie.
    ///
    /// # Errors
    /// A sentence: no path holds a NUL byte.
    pub fn programs_of(&self, program: &str) -> Result<Vec<CString>, String> {
        programs(program, &self.environment)
    }

    /// The environment, without what differs by task.
    pub fn env(&self) -> impl Iterator<Item = &CString> {
        // Which GPUs are its own, a task that has some is told.
        let cuda = self.environment.cuda.iter().filter(|_| !self.takes_gpus);
        self.own
            .iter()
            .chain(cuda)
            .chain(&self.environment.variables)
    }

    /// The variables of one task, by what it has of each resource with a name.
    #[must_use]
    pub fn own_env(&self, shown: &[(&str, String)]) -> Vec<String> {
        let mut env = Vec::with_capacity(shown.len());
        for (name, value) in shown {
            env.push(format!("{}={value}", resource_variable(name)));
            if *name == GPUS {
                let count = self.asked.named.get(GPUS).copied().unwrap_or(0);
                env.push(format!("HPC_GPUS={count}"));
                env.push(format!("{CUDA_VARIABLE}={value}"));
            }
        }
        env
    }

    /// The tasks that the work names.
    ///
    /// # Errors
    /// A sentence about the part that is no range.
    pub fn tasks(work: &Work) -> Result<TaskSet, String> {
        TaskSet::parse(&work.tasks).map_err(|error| error.to_string())
    }
}

/// What a task of a work takes: a resource of which it asks for nothing it need not have.
fn asked_of(work: &Work) -> Asked {
    let named = work.resources.iter().filter(|(_, amount)| **amount > 0);
    Asked {
        cpus: work.cpus,
        mib: work.reserve_mib,
        named: named.map(|(name, n)| (name.clone(), *n)).collect(),
    }
}

/// The variable in which a task finds what it has of a resource.
///
/// ```
/// use hpc_executor::work::resource_variable;
/// assert_eq!(resource_variable("a100-sxm.v2"), "HPC_RESOURCE_A100_SXM_V2");
/// ```
#[must_use]
pub fn resource_variable(name: &str) -> String {
    let signs = name.chars().map(|sign| match sign {
        'a'..='z' => sign.to_ascii_uppercase(),
        'A'..='Z' | '0'..='9' => sign,
        _ => '_',
    });
    RESOURCE_PREFIX.chars().chain(signs).collect()
}

/// Where a program may lie: by a path as it is, by a bare name in each folder of PATH.
#[must_use]
pub fn candidates(program: &str, path: &str) -> Vec<String> {
    if program.is_empty() || program.contains('/') {
        return vec![program.to_owned()];
    }
    path.split(':')
        .map(|folder| match folder {
            "" => format!("./{program}"), // POSIX: an empty entry is the current folder
            _ => format!("{folder}/{program}"),
        })
        .collect()
}

/// Whether a text is an id of the wire, and so safe as a file name.
#[must_use]
pub fn is_id(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= 128
        && bytes.next().is_some_and(|b| b.is_ascii_alphanumeric())
        && bytes.all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b))
}
