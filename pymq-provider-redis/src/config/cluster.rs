//! [`ClusterConfig`]: the nodes of a Redis Cluster in a URL.

use std::fmt;

use pymq_core::{Error, ErrorKind, Parameters, ProviderUrl, Result};
use redis::{ConnectionInfo, IntoConnectionInfo};

use super::parts::{read_tls, servers, unusable};

/// The scheme of these URLs.
pub(super) const SCHEME: &str = "redis-cluster";

/// The parameters of such a URL beside those of every other.
pub(super) const PARAMETERS: [&str; 2] = ["tls", "spread_topics"];

/// The port of a node, if the URL has none.
const PORT: u16 = 6_379;

/// Some nodes of a cluster, which know the others.
#[derive(Clone)]
pub(crate) struct ClusterConfig {
    pub(crate) servers: Vec<ConnectionInfo>,
}

impl ClusterConfig {
    /// Reads a URL such as `redis-cluster://user:password@one,two:6380`.
    pub(super) fn read(url: &ProviderUrl, parameters: &Parameters) -> Result<Self> {
        let is_tls = read_tls(url, parameters, "tls")?;
        // The redis crate reads the credentials and the database as those of one server.
        let mut of_one = url.as_url().clone();
        of_one.set_query(None);
        let of_one = of_one.as_str().replacen(SCHEME, "redis", 1);
        let of_one = of_one
            .into_connection_info()
            .map_err(|error| unusable(url, "it cannot be used").with_source(error))?;
        let servers = servers(url, PORT, is_tls)?.into_iter();
        let servers =
            servers.map(|server| server.set_redis_settings(of_one.redis_settings().clone()));
        Ok(Self {
            servers: servers.collect(),
        })
    }

    /// Refuses a database that no cluster has.
    pub(super) fn check(&self) -> Result<()> {
        if self
            .servers
            .iter()
            .all(|server| server.redis_settings().db() == 0)
        {
            return Ok(());
        }
        let text = "redis: a cluster has only the database 0: use namespaces in place of databases";
        Err(Error::new(ErrorKind::InvalidConfig, text))
    }
}

/// The nodes of the URL, for errors.
impl fmt::Display for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("cluster of ")?;
        for (n, server) in self.servers.iter().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{}", server.addr())?;
        }
        Ok(())
    }
}
