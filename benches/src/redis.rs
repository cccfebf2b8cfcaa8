//! A Redis for the benches, in a process or a container of its own.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Reads its input to the end, and then ends the server. So the server ends with our process,
/// however that ends. `$1` is the port, `$2` a name for a container.
///
/// Without a bound for its output, Redis does not drop a subscriber that is slower than the
/// publishers.
const SCRIPT: &str = r#"
folder=$(mktemp -d) && cd "$folder" || exit
if command -v redis-server; then
    redis-server --port "$1" --bind 127.0.0.1 --save '' --repl-diskless-sync-delay 0 \
        --client-output-buffer-limit pubsub 0 0 0 & server=$!
    cat; kill $server; wait $server
else
    docker run --rm --name "$2" --publish "127.0.0.1:$1:6379" "${PYMQ_TEST_REDIS_IMAGE:-redis:7}" \
        redis-server --protected-mode no --save '' \
        --client-output-buffer-limit pubsub 0 0 0 & server=$!
    cat; docker rm --force "$2"; wait $server
fi
rm -r "$folder"
"#;

/// How long the start may take.
const START: Duration = Duration::from_secs(30);

/// How long a replica may take until it is in step.
const SYNC: Duration = Duration::from_secs(5);

/// A running Redis. It ends when this is dropped.
#[derive(Debug)]
pub struct Redis {
    port: u16,
    shell: Child,
}

impl Redis {
    /// Starts `redis-server` from PATH, or a container, and returns when it answers.
    ///
    /// # Errors
    ///
    /// If this machine has neither.
    pub fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &port.to_string()])
            .arg(crate::unique("redis"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let mut redis = Self { port, shell };
        let start = Instant::now();
        while !redis.answers() {
            if redis.shell.try_wait()?.is_some() || start.elapsed() > START {
                return Err(io::Error::other(
                    "no Redis: install redis-server or start a Docker Engine",
                ));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(redis)
    }

    /// Returns the address, such as `redis://127.0.0.1:6379`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Makes it a replica, and waits until it is in step. Tells whether that worked: a container
    /// does not reach the other one.
    #[must_use]
    pub fn follow(&self, master: &Self) -> bool {
        let start = Instant::now();
        let asked = self.ask(&format!("REPLICAOF 127.0.0.1 {}", master.port));
        while asked.is_ok() && start.elapsed() < SYNC {
            let state = master.ask("INFO replication");
            if state.is_ok_and(|state| state.contains("state=online")) {
                return true;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        false
    }

    fn answers(&self) -> bool {
        self.ask("PING")
            .is_ok_and(|reply| reply.starts_with("+PONG"))
    }

    /// Sends a command on a connection of its own.
    fn ask(&self, command: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).map(|_| reply)
    }
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It fails only if the shell was waited for, which is not done elsewhere after the start.
        drop(self.shell.wait());
    }
}
