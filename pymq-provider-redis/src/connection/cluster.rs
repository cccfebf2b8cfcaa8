//! [`Cluster`]: which node of a Redis Cluster owns each slot.
//!
//! The nodes that are in use are asked once a second. If one of them has trouble, or says that a
//! slot has moved, all nodes are asked at once. The answers may differ, because news takes time to
//! reach each node. So the rule of the nodes themselves applies: each owner has an epoch, and the
//! owner with the highest epoch has the slot. See [`Table`].
//!
//! When a node owns a slot no more, the connections that were opened for the slot end a moment
//! later. Most notice that themselves before: the node redirects their next command. A node that
//! was replaced may be out of reach.

mod claims;
mod table;

use std::future::pending;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::future::{BoxFuture, FutureExt};
use futures_util::stream::FuturesUnordered;
use pymq_core::ErrorKind;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use self::claims::{Claim, read_claims};
pub(super) use self::table::Member;
use self::table::Table;
use super::dialer::{Connection, Dialer, Kind, Place};
use super::fault::{Fault, Redirection};
use super::resp::{Command, Reply};
use crate::slot::Slot;

/// How often the nodes are asked.
const ASK_INTERVAL: Duration = Duration::from_secs(1);

/// The shortest time between two times that they are asked.
const ASK_PAUSE: Duration = Duration::from_millis(100);

/// The time limit of an answer.
const ANSWER_LIMIT: Duration = Duration::from_secs(1);

/// How long the nodes in use have before the others are asked too.
const IN_USE_LIMIT: Duration = Duration::from_millis(500);

/// How much later than the first answer another one may be. A node that was stopped would hold up
/// what the others know.
const LATE_LIMIT: Duration = Duration::from_millis(200);

/// The most nodes without a connection that are asked at once.
const MAX_DIALED: usize = 8;

/// How long a connection stays after its node has lost the last slot. By then, each command on it
/// was redirected, if the node answers.
const GRACE: Duration = Duration::from_millis(500);

/// How long a connection for a slot stays after its node has lost only some slots. A subscriber must
/// move after all publishers have: then an event that was published at the former node cannot come
/// after one that was published at the next node.
const SLOT_GRACE: Duration = Duration::from_secs(2);

/// How long the owner of a slot may not be known to all clients after it has changed.
const UNSETTLED: Duration = Duration::from_secs(3);

/// The nodes of a cluster.
#[derive(Debug)]
pub(crate) struct Cluster {
    seeds: Vec<Dialer>,
    connect_timeout: Duration,
    table: RwLock<Table>,
    /// Counts the changes of the table.
    changes: watch::Sender<u64>,
    opened: Mutex<Opened>,
    /// A node has trouble: ask all.
    trouble: Notify,
}

/// Connections that must end when their node loses a slot.
#[derive(Debug, Default)]
struct Opened {
    for_slots: Vec<(Slot, Arc<Member>, CancellationToken)>,
    /// Those to end, and when.
    ending: Vec<(Instant, CancellationToken)>,
}

/// Which of the nodes that were asked have answered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Heard {
    All,
    Some,
}

impl Cluster {
    pub(super) fn new(seeds: Vec<Dialer>, connect_timeout: Duration) -> Self {
        Self {
            seeds,
            connect_timeout,
            table: RwLock::default(),
            changes: watch::Sender::new(0),
            opened: Mutex::default(),
            trouble: Notify::new(),
        }
    }

    /// Returns the node that owns a slot, as far as is known.
    pub(super) fn owner(&self, slot: Slot) -> Option<Arc<Member>> {
        self.read_table().owner(slot).cloned()
    }

    /// Returns a node by its address.
    pub(super) fn member(&self, place: &Place) -> Result<Arc<Member>, Fault> {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        table.member(place, || self.dialer_of(place))
    }

    /// Returns the nodes that own slots.
    pub(super) fn members(&self) -> Vec<Arc<Member>> {
        self.read_table().members().cloned().collect()
    }

    /// Tells when the owners of slots have changed after this call.
    pub(super) fn changes(&self) -> watch::Receiver<u64> {
        self.changes.subscribe()
    }

    /// Tells whether the owner of a slot may not be known to all clients yet.
    pub(super) fn is_unsettled(&self, slot: Slot) -> bool {
        let changed = self.read_table().changed_at(slot);
        changed.is_some_and(|at| at.elapsed() < UNSETTLED)
    }

    /// Connects to the owner of a slot once, within the connect timeout.
    pub(super) async fn connect(
        &self,
        slot: Slot,
        on_push: impl Fn(Vec<Reply>) + Send + Sync + 'static,
    ) -> Result<Connection, Fault> {
        let mut owner: Option<Arc<Member>> = None;
        let connected = async {
            let mut opened = self.open(slot);
            if opened.is_none() {
                self.refresh(true).await?;
                opened = self.open(slot);
            }
            let Some((member, lost)) = opened else {
                return Err(Fault::new(ErrorKind::Disconnected, NO_OWNER));
            };
            let owner = owner.insert(member);
            // Without a connection, nothing is left to end.
            let unless_connected = lost.clone().drop_guard();
            let dialed = owner.dialer.dial(lost, on_push).await;
            let connection = dialed.map_err(|fault| fault.at(&owner.dialer.address()))?;
            unless_connected.disarm();
            Ok(connection)
        };
        let connected = timeout(self.connect_timeout, connected).await;
        let connected = connected.unwrap_or_else(|_elapsed| {
            let is_tls = self.seeds.first().is_some_and(Dialer::is_tls);
            let fault = Fault::connect_timeout(is_tls);
            Err(match &owner {
                Some(owner) => fault.at(&owner.dialer.address()),
                None => fault,
            })
        });
        if connected.is_err() {
            self.note_trouble();
        }
        connected
    }

    /// Notes that a node does not do what it should. All nodes are asked soon.
    pub(super) fn note_trouble(&self) {
        self.trouble.notify_one();
    }

    /// Returns where a command about a slot must go, if its owner has refused it for that reason.
    pub(super) fn redirected(&self, slot: Slot, fault: &Fault) -> Option<Redirection> {
        let mut redirection = fault.redirection()?;
        let (host, _) = &mut redirection.to;
        if host.is_empty() {
            self.owner(slot)?.dialer.host().clone_into(host);
        }
        if !redirection.must_ask {
            let Redirection { slot, to, .. } = &redirection;
            self.change(|table| table.note_moved(*slot, to, || self.dialer_of(to)));
            self.note_trouble();
        }
        Some(redirection)
    }

    /// Watches the nodes without end.
    pub(crate) async fn watch(&self) {
        tokio::join!(self.keep_asking(), self.end_late_connections());
    }

    async fn keep_asking(&self) {
        let mut next = Instant::now() + ASK_INTERVAL;
        let mut is_troubled = false;
        loop {
            tokio::select! {
                () = self.trouble.notified() => is_troubled = true,
                () = sleep_until(next) => {}
            }
            next = Instant::now() + ASK_INTERVAL;
            is_troubled = match self.refresh(is_troubled).await {
                Ok(Heard::All) => false,
                Ok(Heard::Some) => true,
                Err(fault) => {
                    tracing::debug!("no node of the cluster says who owns the slots: {fault}");
                    true
                }
            };
            sleep_until(Instant::now() + ASK_PAUSE).await;
        }
    }

    /// Asks the nodes in use, and the others if `must_ask_all` or if none of those answers. Learns
    /// from each answer as it comes, and waits only briefly for others once there is one.
    pub(super) async fn refresh(&self, must_ask_all: bool) -> Result<Heard, Fault> {
        let members = self.members();
        let mut asked: FuturesUnordered<BoxFuture<'_, _>> = FuturesUnordered::new();
        let mut others: Vec<_> = self.seeds.iter().take(MAX_DIALED).collect();
        for member in &members {
            match member.node.get().and_then(|node| node.current()) {
                Some(connection) => {
                    let host = member.dialer.host();
                    asked.push(async move { ask(&connection, host).await }.boxed());
                }
                None if others.len() < 2 * MAX_DIALED => others.push(&member.dialer),
                None => {}
            }
        }
        let mut others = Some(others);
        let mut must_ask_others = must_ask_all || asked.is_empty();
        let mut told = Fault::no_connection();
        let (mut has_heard, mut has_failed) = (false, false);
        let mut end = Instant::now() + IN_USE_LIMIT;
        loop {
            if must_ask_others && let Some(others) = others.take() {
                asked.extend(others.into_iter().map(|dialer| ask_anew(dialer).boxed()));
                // Each has a limit of its own.
                end = Instant::now() + 2 * ANSWER_LIMIT;
            }
            match timeout_at(end, asked.next()).await {
                Ok(Some(Ok(claims))) => {
                    self.change(|table| table.learn(&claims, |place| self.dialer_of(place)));
                    has_heard = true;
                    end = end.min(Instant::now() + LATE_LIMIT);
                }
                Ok(Some(Err(fault))) => {
                    has_failed = true;
                    if says_more(&fault, &told) {
                        told = fault;
                    }
                }
                Ok(None) if has_heard && !has_failed => return Ok(Heard::All),
                Ok(None) | Err(_) if has_heard => return Ok(Heard::Some),
                Ok(None) | Err(_) if others.is_some() => must_ask_others = true,
                Ok(None) | Err(_) => return Err(told),
            }
        }
    }

    /// Changes the table, and ends the connections that were opened for slots that have moved.
    fn change(&self, change: impl FnOnce(&mut Table) -> bool) {
        let mut table = self.table.write().unwrap_or_else(PoisonError::into_inner);
        if !change(&mut table) {
            return;
        }
        let mut opened = self.opened();
        let now = Instant::now();
        let Opened { for_slots, ending } = &mut *opened;
        for_slots.retain(|(slot, member, lost)| {
            let is_owner = table
                .owner(*slot)
                .is_some_and(|owner| Arc::ptr_eq(owner, member));
            if !is_owner {
                ending.push((now + SLOT_GRACE, lost.clone()));
            }
            is_owner && !lost.is_cancelled()
        });
        for member in table.forget_unused() {
            tracing::warn!("{} owns no slots any more", member.dialer.address());
            ending.push((now + GRACE, member.ended.clone()));
        }
        drop(table);
        self.changes.send_modify(|changes| *changes += 1);
    }

    /// Returns the owner of a slot, and the token of a new connection to it.
    fn open(&self, slot: Slot) -> Option<(Arc<Member>, CancellationToken)> {
        // Locked meanwhile, so that no change is missed.
        let table = self.read_table();
        let owner = table.owner(slot)?;
        let lost = owner.ended.child_token();
        let mut opened = self.opened();
        opened.for_slots.retain(|(.., lost)| !lost.is_cancelled());
        opened
            .for_slots
            .push((slot, Arc::clone(owner), lost.clone()));
        Some((Arc::clone(owner), lost))
    }

    /// Ends each connection whose node no longer owns its slot, when its grace time is over.
    async fn end_late_connections(&self) {
        let mut changes = self.changes();
        loop {
            let next = self.opened().ending.iter().map(|(end, _)| *end).min();
            let end = async {
                match next {
                    Some(end) => sleep_until(end).await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = end => {}
                // There may be a sooner end. An error means that this is dropped.
                _ = changes.changed() => continue,
            }
            let now = Instant::now();
            self.opened().ending.retain(|(end, lost)| {
                let is_over = *end <= now;
                if is_over {
                    lost.cancel();
                }
                !is_over
            });
        }
    }

    fn dialer_of(&self, (host, port): &Place) -> Result<Dialer, Fault> {
        let first = self.seeds.first().ok_or_else(Fault::no_connection)?;
        let dialer = first.elsewhere(host.clone(), *port);
        let dialer = dialer.map_err(|error| Fault::of_connect(error, first.is_tls()))?;
        Ok(dialer.of_kind(Kind::Owner))
    }

    fn read_table(&self) -> RwLockReadGuard<'_, Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn opened(&self) -> MutexGuard<'_, Opened> {
        self.opened.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The cause if no node owns a slot.
pub(super) const NO_OWNER: &str = "no node of the cluster owns the slot: is the cluster whole?";

/// Tells whether a fault says more than another. That a node is out of reach says the least.
fn says_more(fault: &Fault, other: &Fault) -> bool {
    let is_reach =
        |fault: &Fault| matches!(fault.kind, ErrorKind::Disconnected | ErrorKind::Timeout);
    is_reach(other) || !is_reach(fault)
}

/// Asks a node who owns the slots, on a connection for this question.
async fn ask_anew(dialer: &Dialer) -> Result<Vec<Claim>, Fault> {
    let member = dialer.of_kind(Kind::Member);
    let asked = async {
        let connection = member.dial(CancellationToken::new(), drop).await?;
        ask(&connection, dialer.host()).await
    };
    let asked = timeout(ANSWER_LIMIT, asked).await;
    let asked = asked.unwrap_or_else(|_elapsed| Err(Fault::connect_timeout(dialer.is_tls())));
    asked.map_err(|fault| fault.at(&dialer.address()))
}

/// Asks a node who owns the slots. `host` is its own.
async fn ask(connection: &Connection, host: &str) -> Result<Vec<Claim>, Fault> {
    let asked = async {
        // In one round trip, so that both answers are of the same moment.
        let (slots, nodes) = tokio::join!(
            connection.query::<Reply>(Command::new(["CLUSTER", "SLOTS"])),
            connection.query::<String>(Command::new(["CLUSTER", "NODES"])),
        );
        read_claims(slots?, &nodes?, host).ok_or_else(Fault::unexpected)
    };
    let asked = timeout(ANSWER_LIMIT, asked).await;
    let answer = asked.unwrap_or_else(|_elapsed| Err(Fault::timeout()));
    answer.map_err(Fault::with_known_outcome)
}
