//! [`SentinelConfig`]: the servers of Redis Sentinel in a URL.

use std::fmt;

use pymq_core::{Parameters, ProviderUrl, Result};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

use super::parts::{address, read_tls, servers, unusable};

/// The scheme of these URLs.
pub(super) const SCHEME: &str = "redis-sentinel";

/// The parameters that only such a URL has.
pub(super) const PARAMETERS: [&str; 4] = ["tls", "sentinel_tls", "sentinel_user", "sentinel_pass"];

/// The port of a sentinel, if the URL has none.
const PORT: u16 = 26_379;

/// The sentinels that know where the master is.
#[derive(Clone)]
pub(crate) struct SentinelConfig {
    /// The name of the master at the sentinels.
    pub(crate) master: String,
    pub(crate) servers: Vec<ConnectionInfo>,
    /// How to connect to the master, with the address of the first sentinel in place of its own.
    pub(crate) of_master: ConnectionInfo,
}

impl SentinelConfig {
    /// Reads a URL such as `redis-sentinel://one,two:26380/orders/0`.
    pub(super) fn read(url: &ProviderUrl, parameters: &Parameters) -> Result<Self> {
        let fault = |what: &str| unusable(url, what);
        let is_tls = read_tls(url, parameters, "tls")?;
        let is_sentinel_tls = read_tls(url, parameters, "sentinel_tls")?;

        let mut path = url.as_url().path().trim_matches('/').splitn(2, '/');
        let master = percent_encoding::percent_decode_str(path.next().unwrap_or_default());
        let master = master.decode_utf8_lossy().into_owned();
        if master.is_empty() {
            return Err(fault("the path begins with the name of the master"));
        }
        // The redis crate reads the credentials and the database as those of one server.
        let mut of_master = url.as_url().clone();
        of_master.set_query(None);
        of_master.set_path(path.next().unwrap_or_default());
        let of_master = of_master.as_str().replacen(SCHEME, "redis", 1);
        let of_master = of_master
            .into_connection_info()
            .map_err(|error| fault("it cannot be used").with_source(error))?;

        let servers = servers(url, PORT, is_sentinel_tls)?.into_iter();
        let servers = servers.map(|server| {
            let mut settings = server.redis_settings().clone();
            if let Some(user) = parameters.get("sentinel_user") {
                settings = settings.set_username(user);
            }
            if let Some(password) = parameters.get("sentinel_pass") {
                settings = settings.set_password(password);
            }
            server.set_redis_settings(settings)
        });
        let servers: Vec<_> = servers.collect();
        let first = servers.first().map(|server| server.addr().clone());
        let Some(ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. }) =
            first
        else {
            return Err(fault("the host is missing"));
        };
        let of_master = of_master.set_addr(address(host, port, is_tls));
        Ok(Self {
            master,
            servers,
            of_master,
        })
    }
}

/// The master and its sentinels, for errors.
impl fmt::Display for SentinelConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "master `{}` of ", self.master)?;
        for (n, server) in self.servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", server.addr())?;
        }
        Ok(())
    }
}
