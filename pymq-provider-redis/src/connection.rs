//! Connections to one Redis. [`Commands`] keeps one up for every command that does not block; the [`Connector`] dials
//! the others: one for subscriptions, one for each thing that waits.

mod backoff;
mod clock;
mod commands;
mod connector;
mod fault;
mod gather;
mod line;
mod script;
mod supervisor;

pub(crate) use self::backoff::{pause, random_fraction};
pub(crate) use self::clock::{Clock, Now};
pub(crate) use self::commands::{Commands, command};
pub(crate) use self::connector::{Connector, Live, Version};
pub(crate) use self::fault::{Fault, Remedy};
pub(crate) use self::gather::{BATCH, gather};
pub(crate) use self::script::Script;
