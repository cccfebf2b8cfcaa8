//! A Redis for the benches, in a process or a container of its own.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Reads its input to the end, and then ends the server. So the server ends with our process,
/// however that ends. `$1` is the port, `$2` a name for a container. The rest are words for a
/// sentinel, or for a node of a cluster: a container does not reach the others.
///
/// Without a bound for its output, Redis does not drop a subscriber that is slower than the
/// publishers.
const SCRIPT: &str = r#"
folder=$(mktemp -d) && cd "$folder" || exit
port=$1 name=$2
shift 2
if command -v redis-server; then
    [ "$2" = --sentinel ] && : >"$1" || set -- "$@" --save '' --repl-diskless-sync-delay 0
    redis-server "$@" --port "$port" --bind 127.0.0.1 \
        --client-output-buffer-limit pubsub 0 0 0 & server=$!
    cat; kill $server; wait $server
elif [ $# -eq 0 ]; then
    docker run --rm --name "$name" --publish "127.0.0.1:$port:6379" "${PYMQ_TEST_REDIS_IMAGE:-redis:7}" \
        redis-server --protected-mode no --save '' \
        --client-output-buffer-limit pubsub 0 0 0 & server=$!
    cat; docker rm --force "$name"; wait $server
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
        Self::start_with(&[])
    }

    /// Starts a sentinel that names this server as the master `bench`.
    ///
    /// # Errors
    ///
    /// If this machine has no `redis-server`.
    pub fn start_sentinel(master_url: &str) -> io::Result<Self> {
        let sentinel = Self::start_with(&["sentinel.conf", "--sentinel"])?;
        let address = master_url.trim_start_matches("redis://");
        let (host, port) = address.split_once(':').unwrap_or((address, "6379"));
        sentinel.tell(&format!("SENTINEL MONITOR bench {host} {port} 1"))?;
        Ok(sentinel)
    }

    /// Starts a cluster with so many masters, and returns when each one takes commands.
    ///
    /// # Errors
    ///
    /// If this machine has no `redis-server`, or one without clusters.
    pub fn start_cluster(masters: usize) -> io::Result<Vec<Self>> {
        const SLOTS: usize = 16_384;
        const NODE: [&str; 5] = [
            "--cluster-enabled",
            "yes",
            "--cluster-announce-ip",
            "127.0.0.1",
            "--cluster-port",
        ];
        let mut nodes: Vec<(Self, String)> = Vec::with_capacity(masters);
        for n in 0..masters {
            let bus = free_port()?.to_string();
            let node = Self::start_with(&[&NODE[..], &[&bus]].concat())?;
            let (first, end) = (n * SLOTS / masters, (n + 1) * SLOTS / masters);
            node.tell(&format!("CLUSTER SET-CONFIG-EPOCH {}", n + 1))?;
            node.tell(&format!("CLUSTER ADDSLOTSRANGE {first} {}", end - 1))?;
            for (other, bus) in &nodes {
                node.tell(&format!("CLUSTER MEET 127.0.0.1 {} {bus}", other.port))?;
            }
            nodes.push((node, bus));
        }
        let start = Instant::now();
        let is_ready = |node: &Self| {
            let state = node.ask("CLUSTER INFO")?;
            Ok::<_, io::Error>(state.contains("cluster_state:ok"))
        };
        for (node, _) in &nodes {
            while !is_ready(node)? {
                if start.elapsed() > START {
                    return Err(io::Error::other("the nodes do not find each other"));
                }
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        Ok(nodes.into_iter().map(|(node, _)| node).collect())
    }

    fn start_with(words: &[&str]) -> io::Result<Self> {
        let port = free_port()?;
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &port.to_string()])
            .arg(crate::unique("redis"))
            .args(words)
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

    /// Returns its host and port.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the address, such as `redis://127.0.0.1:6379`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.host())
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
        self.line("PING")
            .is_ok_and(|reply| reply.starts_with("+PONG"))
    }

    /// Sends a command that is answered by OK.
    fn tell(&self, command: &str) -> io::Result<()> {
        let reply = self.line(command)?;
        if reply.starts_with("+OK") {
            Ok(())
        } else {
            Err(io::Error::other(format!("{command}: {reply}")))
        }
    }

    /// Sends a command and returns the first line of the answer. A sentinel knows no QUIT.
    fn line(&self, command: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.write_all(format!("{command}\r\n").as_bytes())?;
        let mut line = String::new();
        BufReader::new(socket).read_line(&mut line).map(|_| line)
    }

    /// Sends a command on a connection of its own.
    fn ask(&self, command: &str) -> io::Result<String> {
        let mut socket = TcpStream::connect(("127.0.0.1", self.port))?;
        socket.write_all(format!("{command}\r\nQUIT\r\n").as_bytes())?;
        let mut reply = String::new();
        socket.read_to_string(&mut reply).map(|_| reply)
    }
}

fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

impl Drop for Redis {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // It fails only if the shell was waited for, which is not done elsewhere after the start.
        drop(self.shell.wait());
    }
}
