//! A Redis that is killed, stopped and started again, on the same port and with its data.
//!
//! A shell is its parent and follows commands, one a line. So a kill hits a child of this shell and
//! nothing else, and when the commands end, the server ends.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep, timeout};
use uuid::Uuid;

use super::{Source, Watchdog, docker, local, source_of_own};
use crate::Failure;

/// Commands on standard input, one a line. Each is answered by `done` or `failed`. `$1` is the home
/// of the server.
const LOCAL: &str = r#"
cd "$1" || exit 1
shift
start() {
    # A sentinel writes to its configuration file, and does not create it.
    : >>sentinel.conf
    redis-server "$@" >>server.log 2>&1 & server=$!
}
end() { [ -z "$server" ] || { kill -KILL "$server"; wait "$server"; server=; }; }
obey() {
    word=$1; shift
    case $word in
        start) start "$@" ;;
        kill) end; true ;;
        stop) kill -STOP "$server" ;;
        resume) kill -CONT "$server" ;;
        *) false ;;
    esac
}
while read -r word; do obey "$word" "$@" && echo "done" || echo failed; done
end
"#;

/// The same for a container: `$1` is its name, `$2` and `$3` how it is reached, and `$4` its image.
const DOCKER: &str = r#"
name=$1 option=$2 value=$3 image=$4
shift 4
start() {
    docker start "$name" && return
    docker create --name "$name" --label pymq-test=redis --user 0:0 "$option" "$value" "$image" \
        redis-server "$@" || return
    # A sentinel replaces this file. The image may have no shell that creates it.
    file=$(mktemp) && chmod 666 "$file" && docker cp "$file" "$name:/data/sentinel.conf"
    rm -f "$file"
    docker start "$name"
}
obey() {
    word=$1; shift
    case $word in
        start) start "$@" ;;
        kill) docker kill "$name" && docker wait "$name" ;;
        stop) docker kill --signal STOP "$name" ;;
        resume) docker kill --signal CONT "$name" ;;
        pause) docker pause "$name" ;;
        unpause) docker unpause "$name" ;;
        *) false ;;
    esac
}
while read -r word; do obey "$word" "$@" >/dev/null && echo "done" || echo failed; done
docker unpause "$name"
docker rm --force --volumes "$name" >/dev/null
"#;

/// The time limit for the start of a server.
const START: Duration = Duration::from_secs(60);

/// The time limit of one query to it, after which the query is repeated.
const ASK: Duration = Duration::from_millis(500);

/// A server that the tests control. It ends when this is dropped.
#[derive(Debug)]
pub struct Controlled {
    source: Source,
    port: u16,
    shell: Arc<Mutex<Watchdog>>,
}

impl Controlled {
    /// Starts a server with these options of `redis.conf`, and returns when it answers. A local
    /// server keeps its data in the directory `home`, a container inside.
    ///
    /// # Errors
    ///
    /// If neither a container nor a local process can be started.
    pub async fn start(home: &Path, options: &[&str]) -> Result<Self, Failure> {
        let port = local::free_port()?;
        let options = [&["--protected-mode", "no"], options].concat();
        let publish = format!("127.0.0.1:{port}:6379");
        Self::start_with(home, port, ["--publish", &publish], &[], &options).await
    }

    /// Starts a member of a group: the others reach it at the address of its [`url`](Self::url). A
    /// sentinel is one with the words `sentinel.conf` and `--sentinel`.
    ///
    /// # Errors
    ///
    /// As [`start`](Self::start).
    pub async fn start_member(
        home: &Path,
        words: &[&str],
        options: &[&str],
    ) -> Result<Self, Failure> {
        Self::start_member_on(local::free_port()?, home, words, options).await
    }

    pub(super) async fn start_member_on(
        port: u16,
        home: &Path,
        words: &[&str],
        options: &[&str],
    ) -> Result<Self, Failure> {
        let port_text = port.to_string();
        let address = ["--port", &port_text, "--bind", "127.0.0.1"];
        let options = match source_of_own()? {
            // A local server has the address in any case.
            Source::Docker => [&address, options].concat(),
            _ => options.to_vec(),
        };
        Self::start_with(home, port, ["--network", "host"], words, &options).await
    }

    async fn start_with(
        home: &Path,
        port: u16,
        network: [&str; 2],
        words: &[&str],
        options: &[&str],
    ) -> Result<Self, Failure> {
        let source = source_of_own()?;
        // A sentinel saves nothing, and refuses to be told so.
        let save: &[&str] = if words.is_empty() {
            &["--save", ""]
        } else {
            &[]
        };
        let options = [save, options].concat();
        let shell = if source == Source::Docker {
            let name = format!("{}-{}", docker::LABEL, Uuid::new_v4().simple());
            let image = docker::image();
            let container = [&*name, network[0], network[1], &image];
            Watchdog::start(DOCKER, &[&container, words, &options].concat())?
        } else {
            let home = home.display().to_string();
            let port_text = port.to_string();
            let address = ["--port", &port_text, "--bind", "127.0.0.1"];
            Watchdog::start(LOCAL, &[&[&*home], words, &address, &options].concat())?
        };
        let server = Self {
            source,
            port,
            shell: Arc::new(Mutex::new(shell)),
        };
        server.start_again().await?;
        server.ready().await?;
        Ok(server)
    }

    /// Returns its source.
    pub fn source(&self) -> Source {
        self.source
    }

    /// Returns its port on the loopback interface.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Returns the address, such as `redis://127.0.0.1:6379`.
    pub fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Ends it as a crash does, and returns when it is gone.
    pub async fn kill(&self) -> Result<(), Failure> {
        self.tell("kill").await
    }

    /// Starts it again after a [`kill`](Self::kill). It may not answer yet.
    pub async fn start_again(&self) -> Result<(), Failure> {
        self.tell("start").await
    }

    /// Stops its process: connections stay open, and it answers nothing.
    pub async fn stop(&self) -> Result<(), Failure> {
        self.tell("stop").await
    }

    /// Continues a stopped process.
    pub async fn resume(&self) -> Result<(), Failure> {
        self.tell("resume").await
    }

    /// Freezes its container.
    ///
    /// # Errors
    ///
    /// If it is not in a container.
    pub async fn pause(&self) -> Result<(), Failure> {
        self.tell("pause").await
    }

    /// Continues a frozen container.
    pub async fn unpause(&self) -> Result<(), Failure> {
        self.tell("unpause").await
    }

    /// Makes it close every connection, except the one that sends this command.
    pub async fn cut_connections(&self) -> Result<(), Failure> {
        let mut raw = self.raw().await?;
        for kind in ["pubsub", "normal"] {
            redis::cmd("CLIENT")
                .arg(&["KILL", "TYPE", kind, "SKIPME", "yes"])
                .exec_async(&mut raw)
                .await?;
        }
        Ok(())
    }

    /// Waits until it answers a PING, and so until it has loaded its data. Returns when that was.
    ///
    /// # Errors
    ///
    /// If it does not within a minute.
    pub async fn ready(&self) -> Result<Instant, Failure> {
        let pings = async {
            loop {
                if matches!(timeout(ASK, self.ping()).await, Ok(Ok(()))) {
                    return Instant::now();
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(START, pings)
            .await
            .map_err(|_| format!("the server at {} does not answer", self.url()).into())
    }

    /// Opens a connection without the provider.
    ///
    /// # Errors
    ///
    /// If that fails.
    pub async fn raw(&self) -> Result<redis::aio::MultiplexedConnection, Failure> {
        let config =
            redis::AsyncConnectionConfig::new().set_response_timeout(Some(Duration::from_secs(20)));
        let client = redis::Client::open(self.url())?;
        Ok(client
            .get_multiplexed_async_connection_with_config(&config)
            .await?)
    }

    /// Checks whether it is ready, on a connection of its own.
    ///
    /// # Errors
    ///
    /// If it is not: it cannot be reached, or is loading.
    pub async fn ping(&self) -> Result<(), Failure> {
        redis::cmd("PING")
            .exec_async(&mut self.raw().await?)
            .await
            .map_err(Into::into)
    }

    async fn tell(&self, word: &'static str) -> Result<(), Failure> {
        let shell = Arc::clone(&self.shell);
        let answer = tokio::task::spawn_blocking(move || {
            let mut shell = shell.lock().unwrap_or_else(PoisonError::into_inner);
            shell.ask(word)
        });
        match answer.await?? {
            answer if answer == "done" => Ok(()),
            answer => Err(format!("cannot {word} the server: `{answer}`").into()),
        }
    }
}
