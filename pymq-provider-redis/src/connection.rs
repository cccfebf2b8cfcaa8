//! Connections to one Redis server, to the master that [`Sentinels`](sentinels::Sentinels) name, or
//! to the nodes of a [`Cluster`](cluster::Cluster). [`Commands`] runs every command that does not
//! block, on a connection that is kept up to each server. The [`Connector`] opens the others: one for
//! subscriptions, and one for each blocking command.

mod backoff;
mod batches;
mod clock;
mod cluster;
mod commands;
mod connector;
mod dialer;
mod fault;
mod from_reply;
mod node;
mod nodes;
mod pipeline;
mod replicas;
mod resp;
mod route;
mod script;
mod sentinels;
mod socket;
mod version;

pub(crate) use self::backoff::{pause, random_fraction};
pub(crate) use self::batches::{MAX_BATCH, send_in_batches};
pub(crate) use self::clock::{Clock, Now};
pub(crate) use self::commands::Commands;
pub(crate) use self::connector::Connector;
pub(crate) use self::dialer::{Connection, read};
pub(crate) use self::fault::{Fault, Remedy};
pub(crate) use self::from_reply::FromReply;
pub(crate) use self::nodes::Purpose;
pub(crate) use self::replicas::{Replicas, wait};
#[cfg(feature = "fuzzing")]
pub(crate) use self::resp::read_replies;
pub(crate) use self::resp::{
    Command, CommandWriter, LAST_WORD_END, Reply, front_room, write_front,
};
pub(crate) use self::script::Script;
pub(crate) use self::version::Version;
