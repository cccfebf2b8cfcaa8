//! What the server says about its own work.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

/// The counters of a Redis.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct ServerInfo {
    /// The CPU time of its process.
    pub cpu: Duration,
    /// How often each command ran, inside of scripts too.
    pub commands: BTreeMap<String, usize>,
    /// How many clients are connected, including the one that asks.
    pub clients: usize,
}

impl ServerInfo {
    /// Reads the counters. It uses a connection of its own and blocks the thread, so it is not
    /// part of what is measured.
    pub fn read(url: &str) -> Self {
        let address = url.trim_start_matches("redis://").trim_end_matches('/');
        let mut socket = TcpStream::connect(address).expect("a Redis that answers");
        socket
            .write_all(b"INFO all\r\nQUIT\r\n")
            .expect("a Redis that reads");
        let mut text = String::new();
        socket
            .read_to_string(&mut text)
            .expect("a Redis that writes");
        Self::parse(&text)
    }

    fn parse(text: &str) -> Self {
        let mut info = Self::default();
        for (name, value) in text.lines().filter_map(|line| line.trim().split_once(':')) {
            if let Some(command) = name.strip_prefix("cmdstat_") {
                let calls = value
                    .strip_prefix("calls=")
                    .and_then(|rest| rest.split(',').next())
                    .and_then(|calls| calls.parse().ok());
                info.commands
                    .insert(command.to_owned(), calls.unwrap_or_default());
            } else if matches!(name, "used_cpu_sys" | "used_cpu_user") {
                info.cpu += Duration::from_secs_f64(value.parse().unwrap_or_default());
            } else if name == "connected_clients" {
                info.clients = value.parse().unwrap_or_default();
            }
        }
        // That of `read`.
        info.commands.remove("info");
        info.commands.remove("quit");
        info
    }

    /// Returns what was used since the counters were `before`.
    #[must_use]
    pub fn since(&self, before: &Self) -> Self {
        let mut commands = self.commands.clone();
        for (name, calls) in &mut commands {
            *calls -= before.commands.get(name).copied().unwrap_or_default();
        }
        commands.retain(|_, calls| *calls > 0);
        Self {
            cpu: self.cpu.saturating_sub(before.cpu),
            commands,
            clients: self.clients,
        }
    }

    /// Returns how many commands ran.
    pub fn total(&self) -> usize {
        self.commands.values().sum()
    }
}
