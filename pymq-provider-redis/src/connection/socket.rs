//! Opens a socket to a server, with TLS where the URL asks for it.

use std::fmt;
use std::io;
use std::time::Duration;

use futures_util::future::select_ok;
use redis::ConnectionAddr;
use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};

/// How long a connection is silent before the kernel probes the other end.
const KEEPALIVE: Duration = Duration::from_secs(10);

/// The two halves of a connection.
pub(super) struct Socket {
    pub(super) reader: Box<dyn AsyncRead + Send + Unpin>,
    pub(super) writer: Box<dyn AsyncWrite + Send + Unpin>,
}

/// What is needed to open sockets to one server.
#[derive(Clone, Debug)]
pub(super) struct Address {
    address: ConnectionAddr,
    #[cfg(feature = "tls")]
    tls: Option<tls::Tls>,
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.address.fmt(f)
    }
}

impl Address {
    /// Fails if the trust roots of the system cannot be read.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "it can fail with the feature")
    )]
    pub(super) fn new(address: ConnectionAddr) -> io::Result<Self> {
        Ok(Self {
            #[cfg(feature = "tls")]
            tls: match &address {
                ConnectionAddr::TcpTls { host, .. } => Some(tls::Tls::new(host)?),
                _ => None,
            },
            address,
        })
    }

    /// Returns the address of another server, which is reached in the same way.
    #[cfg_attr(
        not(feature = "tls"),
        expect(clippy::unnecessary_wraps, reason = "it can fail with the feature")
    )]
    pub(super) fn elsewhere(&self, host: String, port: u16) -> io::Result<Self> {
        Ok(match &self.address {
            #[cfg(feature = "tls")]
            ConnectionAddr::TcpTls {
                insecure,
                tls_params,
                ..
            } => Self {
                tls: self.tls.as_ref().map(|tls| tls.of(&host)).transpose()?,
                address: ConnectionAddr::TcpTls {
                    host,
                    port,
                    insecure: *insecure,
                    tls_params: tls_params.clone(),
                },
            },
            _ => Self {
                #[cfg(feature = "tls")]
                tls: None,
                address: ConnectionAddr::Tcp(host, port),
            },
        })
    }

    /// Returns the host, or nothing for a socket without one.
    pub(super) fn host(&self) -> &str {
        match &self.address {
            ConnectionAddr::Tcp(host, _) | ConnectionAddr::TcpTls { host, .. } => host,
            _ => "",
        }
    }

    pub(super) fn is_tls(&self) -> bool {
        matches!(self.address, ConnectionAddr::TcpTls { .. })
    }

    /// Opens a socket.
    pub(super) async fn open(&self) -> io::Result<Socket> {
        match &self.address {
            ConnectionAddr::Tcp(host, port) => {
                let (reader, writer) = tcp(host, *port).await?.into_split();
                Ok(Socket {
                    reader: Box::new(reader),
                    writer: Box::new(writer),
                })
            }
            #[cfg(unix)]
            ConnectionAddr::Unix(path) => {
                let stream = tokio::net::UnixStream::connect(path).await?;
                let (reader, writer) = stream.into_split();
                Ok(Socket {
                    reader: Box::new(reader),
                    writer: Box::new(writer),
                })
            }
            #[cfg(feature = "tls")]
            ConnectionAddr::TcpTls { host, port, .. } => {
                let stream = tcp(host, *port).await?;
                match &self.tls {
                    Some(tls) => tls.secure(stream).await,
                    None => Err(io::ErrorKind::Unsupported.into()),
                }
            }
            _ => Err(io::ErrorKind::Unsupported.into()),
        }
    }
}

async fn tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    // All addresses of the host at once: one of them may never answer.
    let attempts: Vec<_> = lookup_host((host, port))
        .await?
        .map(|address| Box::pin(TcpStream::connect(address)))
        .collect();
    if attempts.is_empty() {
        return Err(io::Error::other("No address found for the host"));
    }
    let (stream, _others) = select_ok(attempts).await?;
    // Nagle's algorithm would hold the second of two writes back until the first is acknowledged.
    stream.set_nodelay(true)?;
    let socket = SockRef::from(&stream);
    socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(KEEPALIVE))?;
    #[cfg(target_os = "linux")]
    socket.set_tcp_user_timeout(Some(KEEPALIVE))?;
    Ok(stream)
}

#[cfg(feature = "tls")]
mod tls {
    use std::sync::Arc;

    use rustls::pki_types::ServerName;
    use rustls::{ClientConfig, RootCertStore};
    use tokio_rustls::TlsConnector;

    use super::{Socket, TcpStream, io};

    #[derive(Clone)]
    pub(super) struct Tls {
        connector: TlsConnector,
        name: ServerName<'static>,
    }

    impl Tls {
        pub(super) fn new(host: &str) -> io::Result<Self> {
            let mut roots = RootCertStore::empty();
            let found = rustls_native_certs::load_native_certs();
            roots.add_parsable_certificates(found.certs);
            if let Some(error) = found.errors.into_iter().next()
                && roots.is_empty()
            {
                return Err(io::Error::other(format!("no trusted certificate: {error}")));
            }
            let ring = Arc::new(rustls::crypto::ring::default_provider());
            let config = ClientConfig::builder_with_provider(ring)
                .with_safe_default_protocol_versions()
                .map_err(io::Error::other)?
                .with_root_certificates(roots)
                .with_no_client_auth();
            Ok(Self {
                connector: TlsConnector::from(Arc::new(config)),
                name: name(host)?,
            })
        }

        /// Returns the same for another host.
        pub(super) fn of(&self, host: &str) -> io::Result<Self> {
            Ok(Self {
                connector: self.connector.clone(),
                name: name(host)?,
            })
        }

        pub(super) async fn secure(&self, stream: TcpStream) -> io::Result<Socket> {
            let stream = self.connector.connect(self.name.clone(), stream).await?;
            let (reader, writer) = tokio::io::split(stream);
            Ok(Socket {
                reader: Box::new(reader),
                writer: Box::new(writer),
            })
        }
    }

    fn name(host: &str) -> io::Result<ServerName<'static>> {
        ServerName::try_from(host.to_owned()).map_err(io::Error::other)
    }

    impl std::fmt::Debug for Tls {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("Tls")
                .field("name", &self.name)
                .finish_non_exhaustive()
        }
    }
}
