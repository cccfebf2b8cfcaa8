//! A proxy that can make its connections half open: they stay open, and no bytes pass any more.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// A proxy on a free port of the loopback. It ends when it is dropped.
#[derive(Debug)]
pub(crate) struct FreezingProxy {
    port: u16,
    /// How often it was frozen. Connections from before the last time pass no bytes.
    frozen: watch::Sender<usize>,
    open: Arc<AtomicUsize>,
    accepting: JoinHandle<()>,
}

impl FreezingProxy {
    pub(crate) async fn start(target: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (frozen, _) = watch::channel(0);
        let open = Arc::<AtomicUsize>::default();
        let accepting = tokio::spawn(accept(listener, target, frozen.clone(), Arc::clone(&open)));
        Self {
            port,
            frozen,
            open,
            accepting,
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Returns how many connections were opened so far.
    pub(crate) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Freezes the open connections. New ones work.
    pub(crate) fn freeze(&self) {
        self.frozen.send_modify(|times| *times += 1);
    }
}

impl Drop for FreezingProxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(
    listener: TcpListener,
    target: u16,
    frozen: watch::Sender<usize>,
    open: Arc<AtomicUsize>,
) {
    while let Ok((mut client, _)) = listener.accept().await {
        let mut freezes = frozen.subscribe();
        open.fetch_add(1, Ordering::Relaxed);
        tokio::spawn(async move {
            let mut server = TcpStream::connect(("127.0.0.1", target)).await.unwrap();
            tokio::select! {
                // Either side ends the connection.
                _ = copy_bidirectional(&mut client, &mut server) => {}
                _ = freezes.changed() => {
                    // Kept open, and never read again.
                    std::future::pending::<()>().await;
                }
            }
        });
    }
}
