//! Cleans up after a test when its process ends, in any way: return, panic, abort, kill.
//!
//! A shell in a process group of its own reads a pipe that only our process holds open. When our
//! process is gone, the shell reads the end and cleans up. There is no signal handler and nothing
//! to unwind.

use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// The write end of the pipe, and the shell that reads it. When it is dropped, it cleans up at once
/// and waits until that is done.
#[derive(Debug)]
pub(crate) struct Watchdog {
    shell: Child,
    pipe: Option<ChildStdin>,
    /// The output of the shell. `None` when it is not read any more.
    output: Option<BufReader<ChildStdout>>,
}

impl Watchdog {
    /// Starts a shell script that has to read its standard input to the end and then clean up. `$1`
    /// and on are the arguments.
    pub(crate) fn start(script: &str, arguments: &[&str]) -> io::Result<Self> {
        let mut shell = Command::new("sh")
            .args(["-c", script, "sh"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let pipe = shell.stdin.take();
        let output = shell.stdout.take().map(BufReader::new);
        Ok(Self {
            shell,
            pipe,
            output,
        })
    }

    /// Reads the output of the script until a line contains `text`. Blocks.
    pub(super) fn wait_for(&mut self, text: &str) -> io::Result<()> {
        let output = self.output.take().ok_or(io::ErrorKind::NotConnected)?;
        let mut lines = Vec::new();
        for line in output.lines() {
            let line = line?;
            if line.contains(text) {
                return Ok(());
            }
            lines.push(line);
        }
        Err(io::Error::other(lines.join("\n")))
    }

    /// Sends a command to a script that reads one a line, and returns the line that it answers.
    /// Blocks.
    pub(super) fn ask(&mut self, word: &str) -> io::Result<String> {
        let pipe = self.pipe.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        writeln!(pipe, "{word}")?;
        let output = self.output.as_mut().ok_or(io::ErrorKind::NotConnected)?;
        let mut answer = String::new();
        output.read_line(&mut answer)?;
        Ok(answer.trim_end().to_owned())
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        drop(self.pipe.take());
        // It fails only if the shell was waited for, which only this function does.
        drop(self.shell.wait());
    }
}
