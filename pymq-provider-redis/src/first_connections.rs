//! The first connections of a provider, and what is checked on them.

use std::time::Duration;

use pymq_core::ErrorKind;
use tokio::time::{sleep, timeout};

use crate::connection::{Command, Connection, Connector, Fault, Remedy, Version, wait};
use crate::limits::Limits;

/// The first connections, and what they tell of the server.
#[derive(Debug)]
pub(crate) struct FirstConnections {
    pub(crate) for_commands: Connection,
    /// If replicas must acknowledge puts.
    pub(crate) for_puts: Option<Connection>,
    pub(crate) version: Version,
    pub(crate) limits: Limits,
}

/// Connects and checks that the server is supported and ready, within the connect timeout. Does not
/// retry, so that a wrong address fails at once. `home` is a key of the namespace. `replicas` is how
/// many of them must acknowledge puts, and for how long a put waits.
pub(crate) async fn connect_first(
    connector: &Connector,
    home: &str,
    replicas: Option<(usize, Duration)>,
) -> Result<FirstConnections, Fault> {
    let mut not_ready = Fault::new(ErrorKind::Timeout, "no answer in time");
    let connecting = async {
        let connection = connector.connect(drop).await?;
        let version = connection.version().check()?;
        wait_until_ready(&connection, home, &mut not_ready).await?;
        warn_about_eviction(&connection).await;
        let limits = Limits::ask(&connection).await;
        let for_puts = match replicas {
            Some(needed) => Some(connection_for_puts(connector, needed).await?),
            None => None,
        };
        Ok(FirstConnections {
            for_commands: connection,
            for_puts,
            version,
            limits,
        })
    };
    let connected = timeout(connector.connect_timeout(), connecting).await;
    connected.unwrap_or(Err(not_ready))
}

/// Opens the connection for puts that wait for replicas. Refuses a user without the right to `WAIT`,
/// and warns if there are too few replicas now: they may come back.
async fn connection_for_puts(
    connector: &Connector,
    (needed, timeout): (usize, Duration),
) -> Result<Connection, Fault> {
    let connection = connector.connect(drop).await?;
    // The other half of the time is for the connections.
    let timeout = timeout.min(connector.connect_timeout() / 2);
    match connection.query::<usize>(wait(needed, timeout)).await {
        Err(fault) if fault.kind != ErrorKind::Provider || fault.is_unknown_command() => {
            return Err(fault);
        }
        // A replica refuses it, and may become a master.
        Err(fault) => tracing::warn!("cannot ask for replicas: {fault}"),
        Ok(replicas) if replicas < needed => tracing::warn!(
            replicas,
            needed,
            "too few replicas are in step: puts fail until there are more"
        ),
        Ok(_) => {}
    }
    Ok(connection)
}

/// Waits while the server loads its data, or its cluster is not whole: it accepts connections then,
/// but no commands. `not_ready` gets what it said last.
async fn wait_until_ready(
    connection: &Connection,
    home: &str,
    not_ready: &mut Fault,
) -> Result<(), Fault> {
    loop {
        match connection.query(Command::new(["EXISTS", home])).await {
            Err(fault) if fault.remedy == Remedy::Wait => {
                *not_ready = fault;
                sleep(Duration::from_millis(50)).await;
            }
            // A user without the right to this is still connected. A slot may just have moved.
            Err(fault)
                if fault.kind != ErrorKind::Permission && fault.remedy != Remedy::Redirect =>
            {
                return Err(fault);
            }
            Ok(()) | Err(_) => return Ok(()),
        }
    }
}

/// Warns when the server may evict our data. Does nothing where the user may not read the policy.
async fn warn_about_eviction(connection: &Connection) {
    let info: Result<String, _> = connection.query(Command::new(["INFO", "memory"])).await;
    let info = info.unwrap_or_default();
    let policy = info
        .lines()
        .find_map(|line| line.strip_prefix("maxmemory_policy:"));
    if let Some(policy) = policy
        && let Some(lost) = evictable_data(policy)
    {
        tracing::warn!(
            policy,
            "when memory runs out, the server evicts {lost}; use `noeviction`"
        );
    }
}

/// Returns which of our data a policy may evict.
fn evictable_data(policy: &str) -> Option<&'static str> {
    if policy.starts_with("allkeys-") {
        Some("any key, whole queues included")
    } else if policy.starts_with("volatile-") {
        Some(
            "keys that expire: marks of `put_once`, so that an item may be put twice; claims, so that \
             a call may run twice; and inboxes, so that answers are lost",
        )
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_policy_but_noeviction_is_warned_about() {
        assert!(evictable_data("allkeys-lru").unwrap().contains("queues"));
        assert!(evictable_data("volatile-ttl").unwrap().contains("marks"));
        assert_eq!(evictable_data("noeviction"), None);
    }
}
