//! PyMQ in Python, a process that serves and one that calls.

use std::sync::Arc;
use std::time::Instant;

use pymq_conformance::Failure;
use pymq_conformance::python::{self, Python as Process};
use tokio::sync::OnceCell;

use crate::{Case, Sample, float};

/// Both processes. They start when the first case needs them.
#[derive(Clone)]
pub(super) struct Python {
    url: String,
    processes: Arc<OnceCell<Option<Processes>>>,
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
                let start = python.processes.get_or_init(|| start(&python.url));
                let processes = start.await.as_ref()?;
                let calls = format!("spread({operations}, {in_flight})");
                let start = Instant::now();
                processes.client.run(&calls).await.expect("Python calls");
                Some(Sample {
                    rate: Some(float(operations) / start.elapsed().as_secs_f64()),
                    ..Sample::default()
                })
            }
        });
        calls.one_in(32)
    }
}

async fn start(url: &str) -> Option<Processes> {
    let started = if python::is_off() {
        Err("PYMQ_TEST_PYTHON=off".into())
    } else {
        Processes::start(url).await
    };
    started
        .inspect_err(|error| eprintln!("no row for PyMQ in Python: {error}"))
        .ok()
}

impl Processes {
    async fn start(url: &str) -> Result<Self, Failure> {
        const NAMESPACE: &str = "python";
        let server = Process::start(url, NAMESPACE).await?;
        server
            .run("def echo(text: str) -> str: return text\npymq.expose(echo, 'echo')")
            .await?;
        let client = Process::start(url, NAMESPACE).await?;
        let call = "
            from concurrent.futures import ThreadPoolExecutor

            text = 'x' * 254
            callers = ThreadPoolExecutor(64)
            # Until the function is live: Python exposes without waiting for that.
            while pymq.stub('echo')(text) != text: pass

            def call(times):
                echo = pymq.stub('echo', timeout=10)
                for _ in range(times):
                    assert echo(text) == text

            def spread(operations, threads):
                list(callers.map(call, [operations // threads] * threads))
        ";
        client.run(call).await?;
        Ok(Self {
            client,
            _server: server,
        })
    }
}
