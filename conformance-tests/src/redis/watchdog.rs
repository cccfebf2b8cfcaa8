//! Ends what a test started when the test's process ends, by whatever end: return, panic, abort, kill.
//!
//! A shell in a process group of its own reads a pipe that only we hold open. When we are gone it reads the end, and
//! cleans up. No signal handler, no reaper, nothing to unwind.

use std::io::{self, BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, Command, Stdio};

/// The write end of the pipe, and the shell that reads it. Dropped, it cleans up at once and waits until that is done.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
}

impl Watchdog {
    /// Starts a shell script that has to read its standard input to the end and then clean up; `$1` and on are the
    /// arguments.
    pub(super) fn start(script: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        Ok(Self { shell, pipe })
    }

    /// Reads what the script prints until a line contains `text`. Blocks.
    pub(super) fn wait_for(&mut self, text: &str) -> io::Result<()> {
        let stdout = self
            .shell
            .stdout
            .take()
            .ok_or(io::ErrorKind::NotConnected)?;
        let mut lines = Vec::new();
        for line in BufReader::new(stdout).lines() {
            let line = line?;
            if line.contains(text) {
                return Ok(());
            }
            lines.push(line);
        }
        Err(io::Error::other(lines.join("\n")))
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It fails only when the shell has been waited for, which nobody else does.
        drop(self.shell.wait());
    }
}
