//! A Redis as a child process on a free port.

use std::io;
use std::net::TcpListener;

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
