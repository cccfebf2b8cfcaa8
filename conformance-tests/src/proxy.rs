//! A TCP proxy in front of a server: cuts the connections of one test without hurting the others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A proxy on a free port of the loopback; gone when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// The connections of now; aborting one closes both of its sockets.
    pipes: Arc<Mutex<JoinSet<()>>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Starts to pass connections on to `target`, a host and port.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(target: String) -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let pipes = Arc::new(Mutex::new(JoinSet::new()));
        let accepting = tokio::spawn(accept(listener, target, Arc::clone(&pipes))).abort_handle();
        Ok(Self {
            address,
            pipes,
            accepting,
        })
    }

    /// Returns where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection there is, and returns when both sides of each are closed; new ones are taken at once.
    /// Answers how many it were.
    pub async fn cut(&self) -> usize {
        let mut pipes = std::mem::take(&mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner));
        while pipes.try_join_next().is_some() {}
        let cut = pipes.len();
        pipes.shutdown().await;
        cut
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, target: String, pipes: Arc<Mutex<JoinSet<()>>>) {
    while let Ok((client, _)) = listener.accept().await {
        let target = target.clone();
        let pipe = async move {
            let Ok(mut server) = TcpStream::connect(target).await else {
                return;
            };
            let mut client = client;
            // A proxy must not add a delay.
            if client.set_nodelay(true).is_ok() && server.set_nodelay(true).is_ok() {
                // An error is how either side ends a connection without ceremony.
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
        };
        let mut pipes = pipes.lock().unwrap_or_else(PoisonError::into_inner);
        while pipes.try_join_next().is_some() {}
        pipes.spawn(pipe);
    }
}
