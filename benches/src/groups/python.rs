//! PyMQ in Python, a process that serves and one that calls.

use std::io::{self, BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

use crate::{Case, Sample, float};

/// Both processes. They start when the first case needs them.
#[derive(Clone)]
pub(super) struct Python {
    url: String,
    processes: Arc<OnceLock<Option<Mutex<Processes>>>>,
}

struct Processes {
    client: Process,
    _server: Process,
}

impl Python {
    pub(super) fn new(url: &str) -> Self {
        Self {
            url: url.to_owned(),
            processes: Arc::default(),
        }
    }

    /// Calls with a thread for each call in flight, as Python has it.
    pub(super) fn case(&self, name: &'static str, in_flight: usize) -> Case {
        let python = self.clone();
        let calls = Case::optional(name, move |operations| {
            let python = python.clone();
            async move {
                let calls = tokio::task::spawn_blocking(move || python.call(operations, in_flight));
                calls.await.expect("Python calls")
            }
        });
        calls.one_in(32)
    }

    fn call(&self, operations: usize, in_flight: usize) -> Option<Sample> {
        let start = || Processes::start(&self.url).inspect_err(Processes::is_lacking);
        let processes = self.processes.get_or_init(|| start().ok().map(Mutex::new));
        let mut processes = processes
            .as_ref()?
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let start = Instant::now();
        processes
            .client
            .ask(&format!("{operations} {in_flight}"), "done")
            .expect("Python calls");
        Some(Sample {
            rate: Some(float(operations) / start.elapsed().as_secs_f64()),
            ..Sample::default()
        })
    }
}

impl Processes {
    fn start(url: &str) -> io::Result<Self> {
        let server = Process::start(url, "serve")?;
        Ok(Self {
            client: Process::start(url, "call")?,
            _server: server,
        })
    }

    fn is_lacking(error: &io::Error) {
        eprintln!("no row for PyMQ in Python (PYMQ_TEST_PYTHON names the interpreter): {error}");
    }
}

/// A Python process. It ends when this is dropped, and with our process.
struct Process {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Process {
    fn start(url: &str, role: &str) -> io::Result<Self> {
        const CALLER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/python/caller.py");
        const VENV: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../.venv/bin/python");
        let interpreter = std::env::var("PYMQ_TEST_PYTHON").unwrap_or_else(|_| VENV.to_owned());
        let mut child = Command::new(interpreter)
            .args(["-B", CALLER, url, role])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let pipes = child.stdin.take().zip(child.stdout.take());
        let (input, output) = pipes.ok_or(io::ErrorKind::BrokenPipe)?;
        let mut python = Self {
            child,
            input: Some(input),
            output: BufReader::new(output),
        };
        python.wait_for("ready")?;
        Ok(python)
    }

    fn ask(&mut self, line: &str, answer: &str) -> io::Result<()> {
        let input = self.input.as_mut().ok_or(io::ErrorKind::BrokenPipe)?;
        writeln!(input, "{line}")?;
        self.wait_for(answer)
    }

    fn wait_for(&mut self, answer: &str) -> io::Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        if line.trim_end() == answer {
            Ok(())
        } else {
            Err(io::Error::other(format!("Python says `{line}`")))
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        drop(self.input.take());
        // It fails only if the process was waited for, which is not done elsewhere.
        drop(self.child.wait());
    }
}
