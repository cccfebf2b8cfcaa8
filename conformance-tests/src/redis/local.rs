//! A Redis as a child process on a free port.

use std::io;
use std::net::TcpListener;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU16, Ordering};

use uuid::Uuid;

use super::{Server, Source, Watchdog};
use crate::Failure;

/// The server is a background child of the shell, which waits for the end of its input and then
/// ends the server. The shell closes its standard output, so that the end of the output shows that
/// a server died. The server has a folder of its own for its data. In the folder of the tests, the
/// next server would load them.
const SCRIPT: &str = r#"folder=$(mktemp -d) && cd "$folder" || exit
redis-server "$@" 2>&1 & server=$!
exec >/dev/null; cat; kill $server; wait $server; rm -r "$folder""#;

/// Another process may take the port before the server uses it.
const ATTEMPTS: usize = 5;

/// The distance from the port of a node to the port of its bus. So many ports are for nodes.
const BUS: u16 = 10_000;

/// Starts a server and returns when it accepts connections.
pub(super) async fn start(options: &[&str]) -> Result<Server, Failure> {
    for _ in 1..ATTEMPTS {
        if let Ok(server) = start_on(free_port()?, options).await {
            return Ok(server);
        }
    }
    start_on(free_port()?, options).await
}

pub(super) fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Returns a free port for a node of a cluster. The bus of the node has the port 10,000 above. Both
/// are below the ports that the system hands out, so the node gets them again after it was down. A
/// process gets each port only once.
pub(super) fn node_port() -> Option<u16> {
    static NEXT: LazyLock<AtomicU16> = LazyLock::new(|| {
        let [low, high, ..] = *Uuid::new_v4().as_bytes();
        AtomicU16::new(u16::from_le_bytes([low, high]))
    });
    let is_free = |port: u16| TcpListener::bind(("0.0.0.0", port)).is_ok();
    (0..BUS)
        .map(|_| 10_000 + NEXT.fetch_add(1, Ordering::Relaxed) % BUS)
        .find(|port| is_free(*port) && is_free(port + BUS))
}

/// Starts a server on a port and returns when it accepts connections.
pub(super) async fn start_on(port: u16, options: &[&str]) -> Result<Server, Failure> {
    let options: Vec<String> = options.iter().map(|&option| option.to_owned()).collect();
    tokio::task::spawn_blocking(move || start_once(port, &options))
        .await?
        .map_err(|error| format!("a local redis-server does not start: {error}").into())
}

fn start_once(port: u16, options: &[String]) -> io::Result<Server> {
    let port_text = port.to_string();
    let mut arguments = vec!["--port", &port_text, "--bind", "127.0.0.1", "--save", ""];
    arguments.extend(options.iter().map(String::as_str));

    let mut watchdog = Watchdog::start(SCRIPT, &arguments)?;
    watchdog.wait_for("Ready to accept connections")?;
    Ok(Server {
        source: Source::Local,
        url: format!("redis://127.0.0.1:{port}"),
        _watchdog: Some(watchdog),
    })
}
