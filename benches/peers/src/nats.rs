//! async-nats: requests to a subscriber that answers, on a NATS server.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use futures_util::StreamExt;
use pymq_benches::{Meter, Sample, latencies, text, unique};

pub const NAME: &str = "async-nats, request and reply";

/// Reads its input to the end, and then ends the server.
const SCRIPT: &str = r#"nats-server -a 127.0.0.1 -p "$1" & server=$!; cat; kill $server"#;

/// How long the start may take.
const START: Duration = Duration::from_secs(10);

/// A running NATS server. It ends when this is dropped, or with our process.
pub struct Nats {
    port: u16,
    shell: Child,
}

impl Nats {
    /// Starts `nats-server` from PATH.
    pub fn start() -> io::Result<Self> {
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let shell = Command::new("sh")
            .args(["-c", SCRIPT, "sh", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .process_group(0)
            .spawn()?;
        let nats = Self { port, shell };
        let start = Instant::now();
        while TcpStream::connect(("127.0.0.1", port)).is_err() {
            if start.elapsed() > START {
                return Err(io::Error::other("no NATS: install nats-server"));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(nats)
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        drop(self.shell.stdin.take());
        // Its script ends by itself then.
        drop(self.shell.wait());
    }
}

/// A caller and a server, each with a connection of its own.
pub async fn call(url: String, operations: usize, in_flight: usize) -> Sample {
    let connect = async || async_nats::connect(&url).await.expect("a NATS server");
    let (client, server) = (connect().await, connect().await);
    let subject = unique("call");
    let mut requests = server.subscribe(subject.clone()).await.expect("a server");
    let replying = server.clone();
    tokio::spawn(async move {
        while let Some(request) = requests.next().await {
            let server = replying.clone();
            // As pymq does: a call holds up no other one.
            tokio::spawn(async move {
                let reply = request.reply.expect("a request has an inbox");
                let answer = server.publish(reply, request.payload);
                answer.await.expect("an answer");
            });
        }
    });
    // On the connection of the subscription, so the server knows that by then.
    let first = server.request(subject.clone(), text().into()).await;
    first.expect("an answer");
    let meter = Meter::start();
    let times = latencies(operations, in_flight, move || {
        let (client, subject) = (client.clone(), subject.clone());
        async move {
            let request = client.request(subject, text().into());
            request.await.expect("an answer");
        }
    });
    meter.stop_with(times.await)
}
