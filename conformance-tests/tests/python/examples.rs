//! The examples with members of both kinds, run as the README describes: as programs that know only
//! `PYMQ_URL`.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use pymq_conformance::python::{Peers, interpreter};
use pymq_conformance::redis::shared;
use pymq_conformance::wait::soon;
use pymq_conformance::{Failure, Outcome};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use url::Url;

cases! {
    a_chat_room_has_members_of_both_kinds,
    a_queue_fed_by_python_is_worked_by_rust,
}

/// A running example. It is killed when this is dropped.
struct Program {
    process: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Program {
    /// Starts a Rust example.
    async fn rust(peers: &Peers, example: &str, argument: &str) -> Result<Self, Failure> {
        let mut command = Command::new(built(example).await?);
        command.arg(argument);
        Self::start(peers, command).await
    }

    /// Starts a Python example.
    async fn python(peers: &Peers, file: &str, argument: &str) -> Result<Self, Failure> {
        let folder = workspace().join("pymq/examples/python");
        let mut command = Command::new(interpreter()?);
        command.arg("-B").arg(folder.join(file)).arg(argument);
        Self::start(peers, command).await
    }

    async fn start(peers: &Peers, mut command: Command) -> Result<Self, Failure> {
        let mut url = Url::parse(shared().await?.url())?;
        url.query_pairs_mut()
            .append_pair("namespace", peers.harness.namespace());
        let mut process = command
            .env("PYMQ_URL", url.as_str())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let (Some(input), Some(output)) = (process.stdin.take(), process.stdout.take()) else {
            return Err("the example has no pipes".into());
        };
        Ok(Self {
            process,
            input,
            output: BufReader::new(output).lines(),
        })
    }

    async fn next_line(&mut self) -> Result<String, Failure> {
        let line = soon("the next line", self.output.next_line()).await??;
        line.ok_or_else(|| "the example has ended".into())
    }

    async fn reads(&mut self, line: &str) -> Outcome {
        Ok(self.input.write_all(format!("{line}\n").as_bytes()).await?)
    }

    /// Closes the input, and waits for the end of a program that prints nothing more.
    async fn hang_up(mut self) -> Outcome {
        drop(self.input);
        assert_eq!(soon("the output", self.output.next_line()).await??, None);
        let status = soon("the example", self.process.wait()).await??;
        assert!(status.success(), "{status}");
        Ok(())
    }
}

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Builds an example and returns its path. It builds in the workspace: `./test.sh` has built the
/// dependencies.
async fn built(example: &str) -> Result<PathBuf, Failure> {
    let build = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--locked", "--workspace"])
        .args(["--example", example, "--message-format", "json"])
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()
        .await?;
    String::from_utf8(build.stdout)?
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == example)
        .find_map(|message| Some(message["executable"].as_str()?.into()))
        .ok_or_else(|| format!("cargo did not build `{example}`: {}", build.status).into())
}

async fn a_chat_room_has_members_of_both_kinds(peers: Peers) -> Outcome {
    let mut ada = Program::rust(&peers, "chat", "Ada").await?;
    let mut bob = Program::python(&peers, "chat.py", "Bob").await?;
    for (member, name) in [(&mut ada, "Ada"), (&mut bob, "Bob")] {
        let welcome = format!("you are {name}; type, and end with Ctrl-D");
        assert_eq!(member.next_line().await?, welcome);
    }
    peers.until_listening("chat", 2).await?;

    ada.reads("hello Bob").await?;
    assert_eq!(bob.next_line().await?, "Ada: hello Bob");
    bob.reads("größer ☃").await?;
    assert_eq!(ada.next_line().await?, "Bob: größer ☃");

    bob.hang_up().await?;
    peers.until_listening("chat", 1).await?;
    ada.reads("Bob?").await?;
    assert_eq!(ada.next_line().await?, "(nobody else is here)");
    ada.hang_up().await
}

async fn a_queue_fed_by_python_is_worked_by_rust(peers: Peers) -> Outcome {
    let mut worker = Program::rust(&peers, "work_queue", "work").await?;
    let waits = worker.next_line().await?;
    assert!(waits.ends_with("waits for jobs, Ctrl-C ends it"), "{waits}");

    let mut feeder = Program::python(&peers, "work_queue.py", "3").await?;
    let put = feeder.next_line().await?;
    assert!(put.starts_with("put 3 jobs, "), "{put}");
    feeder.hang_up().await?;

    // The worker has two jobs at once, and which of them prints first is not promised.
    let mut done = Vec::new();
    while done.len() < 3 {
        done.push(worker.next_line().await?);
    }
    done.sort();
    let jobs = [1, 2, 3].map(|number| format!("job {number} (attempt 1)"));
    assert_eq!(done, jobs);
    let jobs = peers.bus.queue::<Value>("work_queue.jobs");
    soon("the last ack", jobs.join()).await??;
    Ok(())
}
