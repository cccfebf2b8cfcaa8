//! A network with faults on request: a proxy in front of a server.

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

/// What happens to data in transit.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Condition {
    /// It arrives.
    #[default]
    Normal,
    /// Connections are closed, and no one can connect.
    Refused,
    /// Connections are reset, also new ones.
    Reset,
    /// Nothing arrives, and nothing ends.
    BlackHole,
    /// It arrives this much later, in both directions.
    Delayed(Duration),
    /// This many bytes arrive in a second, for each connection and direction.
    Throttled(u32),
}

impl Condition {
    /// Tells whether data arrives in the end.
    pub fn lets_through(self) -> bool {
        matches!(self, Self::Normal | Self::Delayed(_) | Self::Throttled(_))
    }

    fn ends_connections(self) -> bool {
        matches!(self, Self::Refused | Self::Reset)
    }
}

/// The proxy, on a free port of the loopback interface. It ends when it is dropped.
#[derive(Debug)]
pub struct Network {
    address: SocketAddr,
    state: watch::Sender<State>,
    cut: Cut,
    accepting: AbortHandle,
}

/// What each connection reads.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    condition: Condition,
    /// Connections with a lower number are half open: nothing passes any more.
    first_alive: u64,
    /// How many connections were accepted.
    made: u64,
}

/// After how many more bytes from the server a connection is cut: the one that carries the last of
/// these bytes.
#[derive(Clone, Debug, Default)]
struct Cut(Arc<Mutex<Option<usize>>>);

impl Network {
    /// Starts to forward connections to `target`, a host and a port.
    ///
    /// # Errors
    ///
    /// If no port is free.
    pub async fn start(target: String) -> io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (state, cut) = (watch::Sender::default(), Cut::default());
        let accepting = accept(listener, address, target, state.clone(), cut.clone());
        Ok(Self {
            address,
            state,
            cut,
            accepting: tokio::spawn(accepting).abort_handle(),
        })
    }

    /// Returns the address of the server behind it, such as `redis://127.0.0.1:4711`.
    pub fn url(&self) -> String {
        format!("redis://{}", self.address)
    }

    /// Changes the condition for every connection.
    pub fn set(&self, condition: Condition) {
        self.state.send_modify(|state| state.condition = condition);
    }

    /// Leaves every existing connection half open for ever. New connections follow the condition.
    pub fn freeze(&self) {
        self.state
            .send_modify(|state| state.first_alive = state.made);
    }

    /// Cuts a connection after this many more bytes from the server.
    pub fn cut_reply_at(&self, bytes: usize) {
        *self.cut.lock() = Some(bytes);
    }

    /// Tells whether a cut is still to come.
    pub fn is_to_cut(&self) -> bool {
        self.cut.lock().is_some()
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Cut {
    fn lock(&self) -> std::sync::MutexGuard<'_, Option<usize>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns how many of these bytes still pass, if the connection is to be cut then.
    fn within(&self, bytes: usize) -> Option<usize> {
        let mut cut = self.lock();
        let left = (*cut)?;
        if bytes >= left {
            return cut.take();
        }
        *cut = Some(left - bytes);
        None
    }
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    target: String,
    state: watch::Sender<State>,
    cut: Cut,
) {
    // Dropped with this task, and all connections with it.
    let mut pipes = JoinSet::new();
    let mut seen = state.subscribe();
    let mut listener = Some(listener);
    loop {
        let Some(listening) = &listener else {
            let is_over = |state: &State| state.condition != Condition::Refused;
            if seen.wait_for(is_over).await.is_err() {
                return;
            }
            listener = TcpListener::bind(address).await.ok();
            if listener.is_none() {
                // Another socket has the port for a moment, such as one of the closed connections.
                sleep(Duration::from_millis(10)).await;
            }
            continue;
        };
        tokio::select! {
            accepted = listening.accept() => if let Ok((client, _)) = accepted {
                let number = state.borrow().made;
                state.send_modify(|state| state.made += 1);
                pipes.spawn(pass(client, target.clone(), number, state.subscribe(), cut.clone()));
            },
            _ = seen.wait_for(|state| state.condition == Condition::Refused) => listener = None,
            Some(_) = pipes.join_next() => {}
        }
    }
}

/// Forwards the data of one connection.
async fn pass(
    mut client: TcpStream,
    target: String,
    number: u64,
    mut state: watch::Receiver<State>,
    cut: Cut,
) -> io::Result<()> {
    let ends = |state: &State| state.condition.ends_connections();
    if !ends(&state.borrow()) {
        let mut server = TcpStream::connect(target).await?;
        // A network must not add another delay than the one requested.
        client.set_nodelay(true)?;
        server.set_nodelay(true)?;
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let way = Way {
            number,
            state: state.clone(),
            cut: None,
        };
        let back = Way {
            cut: Some(cut),
            ..way.clone()
        };
        // Either side may end it, with an error or without.
        tokio::select! {
            _ = way.flow(from_client, to_server) => return Ok(()),
            _ = back.flow(from_server, to_client) => return Ok(()),
            _ = state.wait_for(ends) => {}
        }
    }
    if state.borrow().condition == Condition::Reset {
        client.set_zero_linger()?;
    }
    Ok(())
}

/// One direction of a connection.
#[derive(Clone, Debug)]
struct Way {
    number: u64,
    state: watch::Receiver<State>,
    cut: Option<Cut>,
}

impl Way {
    async fn flow(
        self,
        mut from: impl AsyncRead + Unpin,
        to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        let (sent, arriving) = mpsc::channel(64);
        let read = async move {
            loop {
                let mut chunk = vec![0; 16 << 10];
                let bytes = from.read(&mut chunk).await?;
                chunk.truncate(bytes);
                if bytes == 0 || sent.send((Instant::now(), chunk)).await.is_err() {
                    return Ok(());
                }
            }
        };
        // Data that was read is written before the end is forwarded.
        tokio::try_join!(read, self.write(arriving, to))?;
        Ok(())
    }

    async fn write(
        mut self,
        mut arriving: mpsc::Receiver<(Instant, Vec<u8>)>,
        mut to: impl AsyncWrite + Unpin,
    ) -> io::Result<()> {
        while let Some((sent, chunk)) = arriving.recv().await {
            let number = self.number;
            let passes =
                |state: &State| number >= state.first_alive && state.condition.lets_through();
            let passing = self.state.wait_for(passes).await;
            let Ok(condition) = passing.map(|state| state.condition) else {
                return Ok(());
            };
            match condition {
                Condition::Delayed(time) => sleep_until(sent + time).await,
                Condition::Throttled(rate) => {
                    let bytes = u32::try_from(chunk.len()).unwrap_or(u32::MAX);
                    sleep(Duration::from_secs(1) * bytes / rate).await;
                }
                _ => {}
            }
            if let Some(last) = self.cut.as_ref().and_then(|cut| cut.within(chunk.len())) {
                to.write_all(&chunk[..last]).await?;
                return Err(io::ErrorKind::ConnectionAborted.into());
            }
            to.write_all(&chunk).await?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that echoes.
    async fn echo() -> String {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                tokio::spawn(async move {
                    let (mut from, mut to) = stream.split();
                    drop(tokio::io::copy(&mut from, &mut to).await);
                });
            }
        });
        address
    }

    async fn ask(stream: &mut TcpStream, text: &str) -> io::Result<String> {
        stream.write_all(text.as_bytes()).await?;
        let mut answer = vec![0; text.len()];
        stream.read_exact(&mut answer).await?;
        Ok(String::from_utf8(answer).unwrap())
    }

    #[tokio::test]
    async fn a_reply_is_cut_where_it_is_told_to_be_and_only_once() {
        let network = Network::start(echo().await).await.unwrap();
        let mut stream = TcpStream::connect(network.address).await.unwrap();
        network.cut_reply_at(5);

        assert_eq!(ask(&mut stream, "abc").await.unwrap(), "abc");
        stream.write_all(b"defg").await.unwrap();
        let mut rest = Vec::new();
        // This end is an error if data was left unread.
        drop(stream.read_to_end(&mut rest).await);

        assert_eq!(rest, b"de");
        assert!(!network.is_to_cut());
        let mut stream = TcpStream::connect(network.address).await.unwrap();
        assert_eq!(ask(&mut stream, "abcdefgh").await.unwrap(), "abcdefgh");
    }

    #[tokio::test]
    async fn every_weather_ends() {
        let network = Network::start(echo().await).await.unwrap();
        for condition in [Condition::Refused, Condition::Reset, Condition::BlackHole] {
            let mut stream = TcpStream::connect(network.address).await.unwrap();
            assert_eq!(ask(&mut stream, "a").await.unwrap(), "a");

            network.set(condition);
            if condition.ends_connections() {
                assert_eq!(stream.read(&mut [0]).await.unwrap_or(0), 0, "{condition:?}");
            }
            network.set(Condition::Normal);

            let again = async {
                loop {
                    // It takes a moment until the port is open again.
                    if let Ok(mut stream) = TcpStream::connect(network.address).await
                        && ask(&mut stream, "b").await.is_ok()
                    {
                        return;
                    }
                }
            };
            crate::wait::soon("the end of the condition", again)
                .await
                .unwrap();
        }
    }

    #[tokio::test]
    async fn what_is_frozen_stays_so_and_what_is_new_passes() {
        let network = Network::start(echo().await).await.unwrap();
        let mut old = TcpStream::connect(network.address).await.unwrap();
        assert_eq!(ask(&mut old, "a").await.unwrap(), "a");

        network.freeze();

        let mut new = TcpStream::connect(network.address).await.unwrap();
        assert_eq!(ask(&mut new, "b").await.unwrap(), "b");
        old.write_all(b"c").await.unwrap();
        assert_eq!(ask(&mut new, "d").await.unwrap(), "d");
        assert_eq!(
            old.try_read(&mut [0]).unwrap_err().kind(),
            io::ErrorKind::WouldBlock
        );
    }
}
