//! A TCP proxy in front of a server. It cuts the connections of one test and no others.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// A proxy on a free port of the loopback interface. It ends when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    /// The open connections. Aborting one closes both of its sockets.
    pipes: Arc<Mutex<JoinSet<()>>>,
    accepting: AbortHandle,
}

impl Proxy {
    /// Starts to forward connections to `target`, a host and a port.
    ///
    /// # Errors
    ///
    /// If no port is free.
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

    /// Returns the address that it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Cuts every connection, and returns their number when both sides of each are closed. New
    /// connections are accepted at once.
    pub async fn cut(&self) -> usize {
        let mut pipes =
            std::mem::take(&mut *self.pipes.lock().unwrap_or_else(PoisonError::into_inner));
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
                // An error is a normal end of a connection here.
                drop(copy_bidirectional(&mut client, &mut server).await);
            }
        };
        let mut pipes = pipes.lock().unwrap_or_else(PoisonError::into_inner);
        while pipes.try_join_next().is_some() {}
        pipes.spawn(pipe);
    }
}
