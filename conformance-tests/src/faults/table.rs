//! The one list of faults.

use std::time::Duration;

use futures_util::future::BoxFuture;

use super::{
    Report, Setting, broken_network, cancelled_takes, frozen_owner, full_server,
    killed_connections, killed_consumers, killed_owner, killed_server, loading_server, long_outage,
    malformed_payloads, many_calls, many_topics, moved_slots, panicking_handlers, refused_access,
    replaced_master, slow_consumer, stopped_remotes, stopped_server, wiped_server,
};
use crate::Outcome;

/// A fault, and what must hold despite it.
#[derive(Clone, Copy, Debug)]
pub struct Fault {
    /// Its short name, such as `F1`.
    pub id: &'static str,
    /// Its name, which is the name of its file.
    pub name: &'static str,
    /// What is done.
    pub what: &'static str,
    /// When it passes.
    pub criterion: &'static str,
    /// How much of the machine it needs.
    pub load: Load,
    /// The time after which it counts as hung.
    pub limit: Duration,
    /// Runs it.
    pub run: fn(Setting) -> BoxFuture<'static, Outcome<Report>>,
}

/// How much of a machine with two cores a fault needs. Faults that fit together run at the same
/// time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Load {
    /// It mostly waits.
    Light,
    /// It keeps a core busy.
    Heavy,
    /// It measures times that others would disturb.
    Alone,
}

/// Every fault. The long ones come first, because the others then fit beside them.
pub const FAULTS: &[Fault] = &[
    Fault {
        id: "F1",
        name: "killed_consumers",
        what: "1,000 times, one of 8 consumer processes is killed by signal 9 in the middle of \
               its work",
        criterion: "0 lost, all processed, redelivered within the lease and 5 s of each attempt, \
                    duplicates at most kills + acks that came too late",
        load: Load::Heavy,
        limit: Duration::from_secs(180),
        run: |setting| Box::pin(killed_consumers::run(setting)),
    },
    Fault {
        id: "F29",
        name: "replaced_master",
        what: "the master of three sentinels is killed, stopped and continued, or replaced on \
               request under load, 20 times",
        criterion: "puts and work continue within the down-after of 1 s and 3 s, or within 2 s after \
                    a sentinel names the next master; each lost message was accepted within 1 s of \
                    a failover; every gap in a topic announced",
        load: Load::Alone,
        limit: Duration::from_secs(360),
        run: |setting| Box::pin(replaced_master::run(setting)),
    },
    Fault {
        id: "F30",
        name: "killed_owner",
        what: "a master of a Redis Cluster of three with a replica each is killed by signal 9 \
               under load and started again, 10 times; 20 times with --long",
        criterion: "puts and work continue within the node timeout of 1 s and 3 s, or within 2 s \
                    after a node names the next master; each lost message was accepted, and each \
                    that was done again was acked within 1 s of a failover; every gap in a topic \
                    announced",
        load: Load::Alone,
        limit: Duration::from_secs(240),
        run: |setting| Box::pin(killed_owner::run(setting)),
    },
    Fault {
        id: "F31",
        name: "moved_slots",
        what: "the slots of queues and remotes move between the masters of a Redis Cluster under \
               load for 20 s; for 60 s with --long",
        criterion: "0 lost, none done twice, no put fails or takes longer than 2 s, no call finds no server, every \
                    gap in a topic announced",
        load: Load::Alone,
        limit: Duration::from_secs(120),
        run: |setting| Box::pin(moved_slots::run(setting)),
    },
    Fault {
        id: "F32",
        name: "frozen_owner",
        what: "each master of a Redis Cluster in turn is stopped for 10 s under load and continued",
        criterion: "as F30; the stopped master comes back as a replica, and an event that was being \
                    published when it was stopped may come late",
        load: Load::Alone,
        limit: Duration::from_secs(240),
        run: |setting| Box::pin(frozen_owner::run(setting)),
    },
    Fault {
        id: "F2",
        name: "killed_server",
        what: "the server is killed by signal 9 under load and started again, 20 times \
               (appendfsync always)",
        criterion: "0 lost, puts and work continue within 6 s after the server is ready, every \
                    gap in a topic announced",
        load: Load::Heavy,
        limit: Duration::from_secs(180),
        run: |setting| Box::pin(killed_server::run(setting)),
    },
    Fault {
        id: "F3",
        name: "loading_server",
        what: "the server is killed twice and takes seconds to load its data",
        criterion: "0 lost, no put fails before its deadline, puts and work continue within 6 s \
                    after the server is ready",
        load: Load::Light,
        limit: Duration::from_secs(120),
        run: |setting| Box::pin(loading_server::run(setting)),
    },
    Fault {
        id: "F4",
        name: "killed_connections",
        what: "the server closes all connections 200 times in 10 s at 1,000 messages a second",
        criterion: "0 lost with leases, plain get loses at most one take per cut, every gap in a \
                    topic announced, a topic is back within 100 ms in 90 % of the cases and \
                    always within 1 s",
        load: Load::Alone,
        limit: Duration::from_secs(120),
        run: |setting| Box::pin(killed_connections::run(setting)),
    },
    Fault {
        id: "F5",
        name: "stopped_server",
        what: "the process of the server is stopped for 10 s; its container is frozen for 10 s",
        criterion: "every call ends within 100 ms of a timer, 0 lost, no task or thread left, all \
                    works within 6 s",
        load: Load::Alone,
        limit: Duration::from_secs(120),
        run: |setting| Box::pin(stopped_server::run(setting)),
    },
    Fault {
        id: "F6",
        name: "long_outage",
        what: "the server is away for 12 s while subscribers, takers and a remote are idle",
        criterion: "all are back within 6 s after the server is ready, without a command, and \
                    subscribers are told",
        load: Load::Light,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(long_outage::run(setting)),
    },
    Fault {
        id: "F7",
        name: "broken_network",
        what: "the network refuses, resets, drops bytes, delays by 200 ms and throttles to 64 \
               kB/s, connections stay half open, and replies are cut at each byte from 0 to 200",
        criterion: "0 lost, all works within 6 s of the end, every gap in a topic announced; a \
                    half-open connection fails at most two puts and is found within 5 s; a cut \
                    reply loses at most the plain get that it answered",
        load: Load::Heavy,
        limit: Duration::from_secs(120),
        run: |setting| Box::pin(broken_network::run(setting)),
    },
    Fault {
        id: "F8",
        name: "slow_consumer",
        what: "200 MB are published to a topic, and one subscriber does not read",
        criterion: "the process grows by at most 64 MiB, others receive everything, and missed \
                    events are counted exactly",
        load: Load::Heavy,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(slow_consumer::run(setting)),
    },
    Fault {
        id: "F9",
        name: "malformed_payloads",
        what: "200,000 malformed payloads go through every decoder, and 40,000 over Redis",
        criterion: "no panic, the process grows by at most 64 MiB, every listener works after \
                    each batch",
        load: Load::Heavy,
        limit: Duration::from_secs(90),
        run: |setting| Box::pin(malformed_payloads::run(setting)),
    },
    Fault {
        id: "F11",
        name: "many_topics",
        what: "10,000 topics are subscribed, published to once and unsubscribed",
        criterion: "each event is received once, a topic costs at most 2 kB, nothing stays \
                    subscribed",
        load: Load::Heavy,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(many_topics::run(setting)),
    },
    Fault {
        id: "F12",
        name: "many_calls",
        what: "10,000 calls at once of a remote on 4 servers, 1 % of them slow and 1 % failing",
        criterion: "each has one outcome, and its own; none runs twice; no entry, task or answer \
                    is left",
        load: Load::Heavy,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(many_calls::run(setting)),
    },
    Fault {
        id: "F13",
        name: "panicking_handlers",
        what: "every tenth of 10,000 events, calls and items of a queue makes its handler panic, \
               in three ways",
        criterion: "the rest is handled once, each caller receives the panic of its own call, \
                    each item is processed again, the counts are exact",
        load: Load::Heavy,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(panicking_handlers::run(setting)),
    },
    Fault {
        id: "F21",
        name: "refused_access",
        what: "wrong, missing and changed passwords, missing rights, and wrong certificates and \
               ports",
        criterion: "each gives an error of the right kind within 3 s that names the cause and no \
                    secret; all works within 6 s after a password is changed back",
        load: Load::Light,
        limit: Duration::from_secs(90),
        run: |setting| Box::pin(refused_access::run(setting)),
    },
    Fault {
        id: "F22",
        name: "full_server",
        what: "the server is at its maxmemory of 4 MB, its disk is full, or its limit of clients \
               is reached",
        criterion: "a refused operation says why and has not happened, acks continue at full \
                    memory, 0 lost, all works within 6 s after there is room, without a restart",
        load: Load::Light,
        limit: Duration::from_secs(90),
        run: |setting| Box::pin(full_server::run(setting)),
    },
    Fault {
        id: "F23",
        name: "wiped_server",
        what: "FLUSHALL, DEL of single keys and SCRIPT FLUSH for 2 s each, under load",
        criterion: "only acks (lease lost) and calls (timed out) fail, and none does 1.5 s after \
                    the last wipe; missing scripts fail no operation",
        load: Load::Light,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(wiped_server::run(setting)),
    },
    Fault {
        id: "F24",
        name: "stopped_remotes",
        what: "one or two of three server processes of a remote are stopped for up to 3 s and \
               continued, for 20 s",
        criterion: "no call runs twice, none begins after its timeout of 1 s, 99 % of the calls \
                    during a stop are answered, all servers answer within 6 s after the last stop",
        load: Load::Alone,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(stopped_remotes::run(setting)),
    },
    Fault {
        id: "F25",
        name: "cancelled_takes",
        what: "one consumer cancels takes of four kinds at random, also in the middle of a round \
               trip of up to 40 ms, for 10 s",
        criterion: "each item comes once and in order, each lease is the first attempt",
        load: Load::Heavy,
        limit: Duration::from_secs(60),
        run: |setting| Box::pin(cancelled_takes::run(setting)),
    },
];

/// Finds a fault by its short or its long name.
pub fn find(name: &str) -> Option<&'static Fault> {
    FAULTS
        .iter()
        .find(|fault| fault.id.eq_ignore_ascii_case(name) || fault.name == name)
}
