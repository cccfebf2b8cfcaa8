//! The parts of URLs.

use std::path::Path;

use pymq_core::{Error, ErrorKind, Parameters, ProviderUrl, Result};
use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo};
use url::{Position, Url};

use super::{cluster, sentinels};

/// Refuses a URL with parts that have no meaning, or that are a password in the wrong place.
pub(super) fn check_parts(url: &ProviderUrl) -> Result<()> {
    let text: &Url = url.as_url();
    let is_socket = is_socket(url);
    let what = if !is_socket && text[Position::AfterPort..].contains('@') {
        "an `@` after the host; in a password, write `%2F` for `/`, `%3F` for `?`, `%23` for `#`"
    } else if text.fragment().is_some() {
        "a fragment (`#..`) has no meaning here, remove it"
    } else if is_socket && Path::new(text.path()).parent().is_none() {
        "the path of the socket is missing"
    } else if ![sentinels::SCHEME, cluster::SCHEME].contains(&url.scheme()) && url.hosts().len() > 1
    {
        "it has several hosts; those of sentinels are written `redis-sentinel://one,two/master`, \
         those of a cluster `redis-cluster://one,two`"
    } else {
        return Ok(());
    };
    Err(unusable(url, what))
}

/// Reads the part of the URL that the redis crate parses.
pub(super) fn server(url: &ProviderUrl) -> Result<ConnectionInfo> {
    // The error of the redis crate names the wrong part of the URL and never quotes a secret.
    let fault = |error| unusable(url, "it cannot be used").with_source(error);
    if url.scheme() != "rediss" {
        return url.as_url().clone().into_connection_info().map_err(fault);
    }
    check_tls("rediss")?;
    // The redis crate reads this scheme only with its own TLS, which ours does not need.
    let plain = url.as_url().as_str().replacen("rediss", "redis", 1);
    let info = plain.into_connection_info().map_err(fault)?;
    let ConnectionAddr::Tcp(host, port) = info.addr().clone() else {
        return Err(unusable(url, "it cannot be used"));
    };
    Ok(info.set_addr(address(host, port, true)))
}

pub(super) fn address(host: String, port: u16, is_tls: bool) -> ConnectionAddr {
    if is_tls {
        ConnectionAddr::TcpTls {
            host,
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host, port)
    }
}

/// Reads the hosts of a URL with several.
pub(super) fn servers(url: &ProviderUrl, port: u16, is_tls: bool) -> Result<Vec<ConnectionInfo>> {
    let hosts = url.hosts();
    let servers = hosts.iter().map(|(host, own_port)| {
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let address = address(host.to_owned(), own_port.unwrap_or(port), is_tls);
        let server = address.into_connection_info();
        server.map_err(|error| unusable(url, "a host cannot be used").with_source(error))
    });
    servers.collect()
}

/// Reads a parameter that turns TLS on.
pub(super) fn read_tls(url: &ProviderUrl, parameters: &Parameters, name: &str) -> Result<bool> {
    let is_tls = read_flag(url, parameters, name)?;
    if is_tls {
        check_tls(url.scheme())?;
    }
    Ok(is_tls)
}

pub(super) fn read_flag(url: &ProviderUrl, parameters: &Parameters, name: &str) -> Result<bool> {
    match parameters.get(name) {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(unusable(
            url,
            &format!("`{name}` is neither `true` nor `false`"),
        )),
    }
}

/// Refuses TLS where it is not compiled in.
fn check_tls(scheme: &str) -> Result<()> {
    if cfg!(feature = "tls") {
        return Ok(());
    }
    let what = format!(
        "redis: TLS of `{scheme}://` needs the feature `redis-tls` of the crate `pymq`, \
         or `tls` of `pymq-provider-redis`"
    );
    Err(Error::new(ErrorKind::Tls, what))
}

fn is_socket(url: &ProviderUrl) -> bool {
    matches!(url.scheme(), "unix" | "redis+unix")
}

pub(super) fn unusable(url: &ProviderUrl, what: &str) -> Error {
    let text = format!("redis: URL `{url}`: {what}");
    Error::new(ErrorKind::InvalidConfig, text)
}
