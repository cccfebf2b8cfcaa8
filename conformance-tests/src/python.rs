//! A real Python peer: a process with the PyMQ of `python/requirements.txt`. It runs the Python
//! code that a test gives it.
//!
//! `PYMQ_TEST_PYTHON` names the interpreter. By default it is that of `.venv`, which `./test.sh`
//! makes. `off` disables these tests. A missing interpreter is a failure that says what to do.

mod peers;

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::Mutex;
use tokio::time::timeout;

pub use self::peers::Peers;
use crate::wait::soon;
use crate::{Failure, Outcome};

/// The longest time for a piece of Python. A test that passes does not use it up.
const WAIT_LIMIT: Duration = Duration::from_secs(60);

/// A Python process with an initialized `pymq`. It ends when this is dropped, or when our process
/// ends in any way.
///
/// # Examples
///
/// ```no_run
/// # async fn example() -> Result<(), pymq_conformance::Failure> {
/// use pymq_conformance::python::Python;
///
/// let python = Python::start("redis://127.0.0.1:6379", "shop").await?;
///
/// python.run("pymq.queue('jobs').put(('a', 1))").await?;
/// let (name, count): (String, u32) = python.eval("pymq.queue('jobs').get()").await?;
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Python {
    process: Child,
    pipes: Mutex<Pipes>,
}

#[derive(Debug)]
struct Pipes {
    pieces: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
    last_id: u64,
}

/// The answer of a piece of Python: its value, or the exception that it raised.
#[derive(Deserialize)]
struct Answer {
    id: u64,
    value: Option<Box<RawValue>>,
    raised: Option<Raised>,
}

/// An exception in Python.
#[derive(Deserialize)]
pub struct Raised {
    /// The name of its class.
    #[serde(rename = "type")]
    pub type_name: String,
    /// Its arguments. An argument that JSON cannot represent is its `repr`.
    pub args: Vec<Value>,
    /// What Python prints for it.
    pub traceback: String,
}

impl Python {
    /// Starts a process with a `pymq` on this Redis and namespace.
    ///
    /// # Errors
    ///
    /// If there is no Python to start. The error says what to do.
    pub async fn start(redis: &str, namespace: &str) -> Result<Self, Failure> {
        let interpreter = interpreter()?;
        let mut process = Command::new(&interpreter)
            .arg("-B")
            .arg(directory().join("peer.py"))
            .args([redis, namespace])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("{} does not start: {error}", interpreter.display()))?;
        let (Some(pieces), Some(answers)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the Python peer has no pipes".into());
        };
        let pipes = Pipes {
            pieces,
            answers: BufReader::new(answers).lines(),
            last_id: 0,
        };
        let python = Self {
            process,
            pipes: Mutex::new(pipes),
        };
        python.run("pass").await?;
        Ok(python)
    }

    /// Runs a piece of Python.
    ///
    /// # Errors
    ///
    /// [`Raised`] if it raises.
    pub async fn run(&self, code: &str) -> Outcome {
        Ok(self.answer(code, false).await?.map(drop)?)
    }

    /// Runs a piece of Python that ends with an expression, and reads its value as JSON.
    ///
    /// # Errors
    ///
    /// [`Raised`] if it raises, or another error if the value is not a `T`.
    pub async fn eval<T: DeserializeOwned>(&self, code: &str) -> Result<T, Failure> {
        let value = self.answer(code, true).await??;
        serde_json::from_str(value.get())
            .map_err(|error| format!("{error}: `{code}` is {value}").into())
    }

    /// Returns what Python shows for the value of an expression, including its type.
    ///
    /// # Errors
    ///
    /// [`Raised`] if it raises.
    pub async fn repr(&self, expression: &str) -> Result<String, Failure> {
        self.eval(&format!("repr({expression})")).await
    }

    /// Runs a piece of Python that must raise, and returns the exception.
    ///
    /// # Errors
    ///
    /// If it does not raise.
    pub async fn raises(&self, code: &str) -> Result<Raised, Failure> {
        match self.answer(code, true).await? {
            Err(raised) => Ok(raised),
            Ok(value) => Err(format!("`{code}` raised nothing, it is {value}").into()),
        }
    }

    /// Returns what `pymq` logged as errors: failures in its handlers and decoders, which it does
    /// not raise.
    ///
    /// # Errors
    ///
    /// If the process is gone.
    pub async fn errors(&self) -> Result<Vec<String>, Failure> {
        self.eval("errors").await
    }

    /// Closes the input, as the end of our process does, and waits until the Python process ends.
    ///
    /// # Errors
    ///
    /// If it does not end.
    pub async fn hang_up(mut self) -> Result<ExitStatus, Failure> {
        drop(self.pipes);
        Ok(soon("the Python peer", self.process.wait()).await??)
    }

    async fn answer(
        &self,
        code: &str,
        wants_value: bool,
    ) -> Result<Result<Box<RawValue>, Raised>, Failure> {
        timeout(WAIT_LIMIT, self.pipes.lock().await.ask(code, wants_value))
            .await
            .map_err(|_| format!("no answer from Python within {WAIT_LIMIT:?} to `{code}`"))?
    }
}

impl Pipes {
    async fn ask(
        &mut self,
        code: &str,
        wants_value: bool,
    ) -> Result<Result<Box<RawValue>, Raised>, Failure> {
        self.last_id += 1;
        let piece = json!({"id": self.last_id, "code": code, "wants_value": wants_value});
        self.pieces
            .write_all(format!("{piece}\n").as_bytes())
            .await?;
        loop {
            let line = self.answers.next_line().await?;
            let line = line.ok_or("the Python peer has ended; its standard error says why")?;
            let answer: Answer = serde_json::from_str(&line)?;
            // An older answer is for a caller that was dropped while it waited.
            if answer.id == self.last_id {
                return Ok(match answer.raised {
                    Some(raised) => Err(raised),
                    None => Ok(answer.value.unwrap_or_else(|| RawValue::NULL.to_owned())),
                });
            }
        }
    }
}

impl fmt::Debug for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.traceback.trim_end())
    }
}

impl std::error::Error for Raised {}

/// Tells whether the tests run without Python.
pub fn is_off() -> bool {
    std::env::var("PYMQ_TEST_PYTHON").is_ok_and(|python| python == "off")
}

/// Returns the folder of the Python files of the tests.
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("python")
}

/// Returns the Python that has the library.
///
/// # Errors
///
/// If there is none. The error says what to do.
pub fn interpreter() -> Result<PathBuf, Failure> {
    match std::env::var("PYMQ_TEST_PYTHON") {
        Ok(python) if !python.is_empty() => Ok(python.into()),
        _ => {
            let python = directory().join("../../.venv/bin/python");
            if python.exists() {
                return Ok(python);
            }
            Err("no Python peer for the tests: `conformance-tests/python/venv.sh` makes one in .venv (`./test.sh` runs \
                 it), PYMQ_TEST_PYTHON names an interpreter that has it, PYMQ_TEST_PYTHON=off tests without"
                .into())
        }
    }
}
