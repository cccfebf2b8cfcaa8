//! [`Bus`]: the handle everything starts from.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;

use crate::client::{BusStats, Client, Running};
use crate::codec::Decode;
use crate::connect::{Connect, IntoProviderUrl, Registry};
use crate::error::{Error, ErrorKind, Result};
use crate::event::Event;
use crate::handler::Handler;
use crate::provider::{Filter, Health, Lifecycle, Provider, Status};
use crate::queue::Queue;
use crate::rpc::{Args, Params, Remote, RemoteFunction, Responses, Stub};
use crate::topic::{Pattern, Publication, SubscriptionBuilder, Topic};

/// What [`Bus::ping`] looks at: a name of our own, which nobody can put to.
const PING_QUEUE: &str = "__rpc_ping";

/// A connection to the bus: topics, queues and remotes.
///
/// Cheap to clone; all clones are one bus, and guards, streams, queues and stubs are handles to it as well. When the
/// last of them is dropped its tasks end, without waiting; [`shutdown`](Self::shutdown) lets them finish. A handler
/// that holds a clone keeps its bus alive until then.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// use std::time::Duration;
///
/// let bus = pymq::connect("memory://").await?;
///
/// bus.topic("greetings").publish("hello").await?;
///
/// bus.shutdown(Duration::from_secs(5)).await?;
/// # Ok(()) }
/// ```
#[derive(Clone)]
pub struct Bus {
    client: Client,
}

impl Bus {
    /// Connects with the configuration of a provider.
    ///
    /// The bus lives no longer than the runtime on which it is connected, as said at [`new`](Self::new).
    ///
    /// # Errors
    ///
    /// What the provider answers within its connect timeout.
    pub async fn connect(config: impl Connect) -> Result<Self> {
        Ok(Self::new(config.connect().await?))
    }

    /// Creates a bus on a connected provider. Must be called on a tokio runtime, which the bus uses for its tasks.
    ///
    /// When that runtime ends, so does the bus: what it has open ends, the provider is closed, and every operation
    /// answers [`Closed`](ErrorKind::Closed), whose source says why.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            client: Client::connected(provider),
        }
    }

    /// Creates a bus that is not connected yet, such as one in a `static`.
    ///
    /// It holds handlers, workers and functions that are registered on it, and starts them in
    /// [`attach`](Self::attach). Every other operation answers
    /// [`NotInitialized`](ErrorKind::NotInitialized) until then. Handles made before, such as topics
    /// and queues, work once it is connected.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// use pymq::{Bus, ErrorKind};
    ///
    /// let bus = Bus::unconnected();
    /// let answer = bus.stub::<(), i64>("answer");
    /// bus.expose("answer", async || 42).await?.keep();
    /// assert_eq!(answer.call(()).await.unwrap_err().kind(), ErrorKind::NotInitialized);
    ///
    /// bus.attach(pymq::memory::MemoryConfig::default()).await?;
    ///
    /// assert_eq!(answer.call(()).await?, 42);
    /// # Ok(()) }
    /// ```
    pub fn unconnected() -> Self {
        Self {
            client: Client::unconnected(),
        }
    }

    /// Connects an [unconnected](Self::unconnected) bus, and starts what was registered on it. All
    /// of that is live when it returns.
    ///
    /// As with [`new`](Self::new), the bus lives no longer than the current runtime. A provider that
    /// is connected already is a configuration, too.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the bus is unconnected as before, and holds what it held.
    ///
    /// # Errors
    ///
    /// [`AlreadyInitialized`](ErrorKind::AlreadyInitialized) for a bus that is or was connected, or
    /// is being connected. Else what the provider answers to the connection or to a registration;
    /// the bus is unconnected then as before, and holds what it held.
    pub async fn attach(&self, config: impl Connect) -> Result<()> {
        self.client.attach(config.connect()).await
    }

    /// Tells whether the bus was connected. It may be closed since.
    pub fn is_attached(&self) -> bool {
        self.client.any_session().is_some()
    }

    /// Tells whether both are handles of one bus.
    pub fn is_same(&self, other: &Self) -> bool {
        self.client.is_same(&other.client)
    }

    /// Sets the largest payload this handle sends, and what is made from it: clones, topics, queues, stubs, remotes.
    ///
    /// A payload is the body with its headers; [`MAX_PAYLOAD`](crate::MAX_PAYLOAD) unless set. A larger one is
    /// [`TooLarge`](ErrorKind::TooLarge) before anything is sent; a larger reply is answered as an error.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// use pymq::ErrorKind;
    ///
    /// let bus = pymq::connect("memory://").await?.max_payload(8);
    ///
    /// let error = bus.topic("news").publish("far too long").await.unwrap_err();
    ///
    /// assert_eq!(error.kind(), ErrorKind::TooLarge);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn max_payload(mut self, bytes: usize) -> Self {
        self.client.set_max_payload(bytes);
        self
    }

    /// Gives a value to the handlers, workers and functions that are registered by this handle, and
    /// by what is made from it. They take it as a [`State`](crate::State).
    ///
    /// There is one value of each type; a later one takes the place of the first.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::{ErrorKind, State};
    ///
    /// #[derive(Clone)]
    /// struct Prices { eggs: f64 }
    ///
    /// async fn price(State(prices): State<Prices>, dozens: f64) -> f64 {
    ///     prices.eggs * dozens
    /// }
    ///
    /// let missing = bus.expose("price", price).await.unwrap_err();
    /// assert_eq!(missing.kind(), ErrorKind::InvalidConfig);
    ///
    /// let bus = bus.with_state(Prices { eggs: 2.5 });
    /// bus.expose("price", price).await?.keep();
    ///
    /// assert_eq!(bus.stub::<(f64,), f64>("price").call((2.0,)).await?, 5.0);
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn with_state<S: Clone + Send + Sync + 'static>(mut self, state: S) -> Self {
        self.client.add_state(state);
        self
    }

    /// Publishes an event on the topic of its type, and returns how many it reached.
    ///
    /// Every bus counts once for its handlers of the topic and once for each of its patterns that match.
    ///
    /// # Delivery
    ///
    /// At most once to everyone subscribed now, in order for this publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the event may or may not have been sent.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) and [`Codec`](ErrorKind::Codec) before anything is sent;
    /// [`Disconnected`](ErrorKind::Disconnected), [`Timeout`](ErrorKind::Timeout) and [`Closed`](ErrorKind::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use serde::{Deserialize, Serialize};
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Placed {
    ///     order: u64,
    /// }
    /// pymq::event!(Placed);
    ///
    /// let reached = bus.publish(&Placed { order: 7 }).await?;
    ///
    /// assert_eq!(reached, 0, "nobody has subscribed");
    /// # Ok(()) }
    /// ```
    pub async fn publish<E: Event>(&self, event: &E) -> Result<usize> {
        self.header_free().publish(event).await
    }

    /// Starts a publication that carries a header: `bus.header("trace", "af01").publish(&event)`.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// # #[derive(serde::Serialize)] struct Placed { order: u64 }
    /// # pymq::event!(Placed);
    /// bus.header("tenant", "a").header("trace", "af01").publish(&Placed { order: 7 }).await?;
    /// # Ok(()) }
    /// ```
    pub fn header(&self, name: impl Into<String>, value: impl Into<String>) -> Publication {
        self.header_free().header(name, value)
    }

    /// Starts a publication that carries headers.
    pub fn headers<K: Into<String>, V: Into<String>>(
        &self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Publication {
        self.header_free().headers(headers)
    }

    fn header_free(&self) -> Publication {
        Publication::new(self.client.clone())
    }

    /// Subscribes a handler to the topic of the event it takes; resolves once it is live.
    ///
    /// Events are handled one after the other, in order; for several at once say
    /// `bus.topic(Placed::TOPIC).concurrency(4).subscribe(handler)`. A handler that fails or panics, and an event that
    /// does not decode, are logged and counted; the next event still arrives.
    ///
    /// # Delivery
    ///
    /// At most once. A handler too slow for its topic loses the oldest of what waits: that is logged and counted too.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays subscribed.
    ///
    /// # Errors
    ///
    /// [`Disconnected`](ErrorKind::Disconnected), [`Closed`](ErrorKind::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// # use serde::{Deserialize, Serialize};
    /// use pymq::topic::Meta;
    ///
    /// #[derive(Deserialize, Serialize)]
    /// struct Placed {
    ///     order: u64,
    /// }
    /// pymq::event!(Placed);
    ///
    /// async fn bill(placed: Placed) {
    ///     println!("order {}", placed.order);
    /// }
    ///
    /// async fn audit(placed: Placed, meta: Meta) -> Result<(), String> {
    ///     println!("order {} on {}", placed.order, meta.topic());
    ///     Ok(())
    /// }
    ///
    /// bus.subscribe(bill).await?.keep();
    /// let auditing = bus.subscribe(audit).await?;
    ///
    /// bus.publish(&Placed { order: 7 }).await?;
    /// auditing.stop().await;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "listener", alias = "subscriber", alias = "consumer")]
    pub async fn subscribe<E, Form>(&self, handler: impl Handler<E, Form>) -> Result<Running>
    where
        E: Event + Decode + 'static,
    {
        let topic = Filter::Topic(E::TOPIC.to_owned());
        SubscriptionBuilder::new(self.client.clone(), topic)
            .subscribe(handler)
            .await
    }

    /// Names a topic, to publish on and to subscribe to.
    pub fn topic(&self, name: impl Into<String>) -> Topic {
        Topic::new(self.client.clone(), name.into())
    }

    /// Names all topics a glob matches, to subscribe to.
    pub fn pattern(&self, glob: impl Into<String>) -> Pattern {
        Pattern::new(self.client.clone(), glob.into())
    }

    /// Returns a handle on the queue `name`, whose items are `T`s.
    ///
    /// Nothing is created and nothing is sent: a queue exists while something is in it. The name is checked by
    /// the first operation.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<String>("jobs").maxsize(100);
    ///
    /// jobs.put("resize 17.png").await?;
    ///
    /// assert_eq!(jobs.get().await?, "resize 17.png");
    /// # Ok(()) }
    /// ```
    pub fn queue<T>(&self, name: impl AsRef<str>) -> Queue<T> {
        Queue::new(&self.client, name.as_ref())
    }

    /// Exposes a function under a name; resolves once it can be called.
    ///
    /// The function takes up to eight arguments, and a [`CallMeta`](crate::CallMeta) as its last one if it wants to know
    /// headers and remaining time. It returns anything that is [`IntoReply`](crate::IntoReply), a `Result` of it
    /// included. 64 calls run at once; 1,024 more may wait, the next are answered "overloaded". A panic and
    /// wrong arguments are answered as errors, and a request whose caller has given up is not run.
    ///
    /// A call runs where it is received until it first waits, so it must not block its thread on another call of the same
    /// function. Calls that compute for long still run side by side.
    ///
    /// # Delivery
    ///
    /// At most once for each call.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, nothing stays exposed.
    ///
    /// # Errors
    ///
    /// [`AlreadyExposed`](ErrorKind::AlreadyExposed) when this bus already exposes the name; other buses may.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// async fn product(a: i64, b: i64) -> i64 {
    ///     a * b
    /// }
    ///
    /// let exposed = bus.expose("product", product).await?;
    ///
    /// assert_eq!(bus.stub::<(i64, i64), i64>("product").call((6, 7)).await?, 42);
    /// exposed.stop().await;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "rpc", alias = "remote", alias = "serve")]
    pub async fn expose<P: Params, Form>(
        &self,
        name: impl Into<String>,
        function: impl RemoteFunction<P, Form>,
    ) -> Result<Running> {
        self.remote(name).expose(function).await
    }

    /// Names a remote that is to be exposed, to say how many of its calls run and wait at once.
    pub fn remote(&self, name: impl Into<String>) -> Remote {
        Remote::new(self.client.clone(), name.into())
    }

    /// Creates the caller's side of a remote: `bus.stub::<(i64, i64), i64>("product")`.
    pub fn stub<A, R>(&self, name: impl Into<String>) -> Stub<A, R> {
        Stub::new(self.client.clone(), name.into())
    }

    /// Calls every server that exposes the name, with the default timeout of 10 seconds.
    ///
    /// Short for [`Stub::call_all`].
    ///
    /// # Errors
    ///
    /// As [`Stub::call_all`].
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// bus.expose("load", || async { 0.5 }).await?.keep();
    ///
    /// let mut loads = bus.call_all::<f64>("load", ()).await?;
    ///
    /// while let Some(load) = loads.recv().await {
    ///     println!("{}", load?);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn call_all<R: DeserializeOwned>(
        &self,
        name: impl Into<String>,
        args: impl Args,
    ) -> Result<Responses<R>> {
        self.stub(name).call_all(args).await
    }

    /// Checks that the provider answers within `timeout`: the connection, the rights, the scripts.
    ///
    /// It asks once. A provider with a limit of its own for each command, such as the `op_timeout` of Redis, may give up
    /// earlier. [`Duration::MAX`] leaves it to that limit. With a timeout of zero, only an answer that is there at once
    /// counts. [`status`](Self::status) tells what is known without asking.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it changes nothing.
    ///
    /// # Errors
    ///
    /// [`Timeout`](ErrorKind::Timeout) when the time is over, whose source tells the status of the bus;
    /// [`Closed`](ErrorKind::Closed); else what the provider answers, such as
    /// [`Disconnected`](ErrorKind::Disconnected).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// bus.ping(Duration::from_millis(500)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn ping(&self, timeout: Duration) -> Result<()> {
        let operation = || format!("{}: ping", self.client.provider_name());
        let provider = self.client.session(operation)?.provider();
        let asking = provider.queue_stats(PING_QUEUE);
        if let Ok(answer) = tokio::time::timeout(timeout, asking).await {
            return answer.map(drop);
        }
        let why = format!("no answer within {timeout:?}, the bus is {}", self.status());
        Err(Error::new(ErrorKind::Timeout, operation()).with_source(why))
    }

    /// Returns how the bus is at the moment; asks nobody.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::health::Status;
    ///
    /// assert_eq!(bus.status(), Status::Ready);
    ///
    /// bus.close().await?;
    ///
    /// assert_eq!(bus.status(), Status::Closed);
    /// # Ok(()) }
    /// ```
    pub fn status(&self) -> Status {
        match self.client.any_session() {
            None => Status::Connecting,
            Some(session) if session.is_closed() => Status::Closed,
            Some(session) => session.provider().health().status(),
        }
    }

    /// Listens to what happens to the connections of this bus: a stream that begins with the status of now and ends with
    /// [`Status::Closed`], which comes when a shutdown is over.
    ///
    /// It does not keep the bus alive.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::health::LifecycleEvent;
    ///
    /// let mut lifecycle = bus.lifecycle();
    /// bus.close().await?;
    ///
    /// while let Some(event) = lifecycle.recv().await {
    ///     match event {
    ///         LifecycleEvent::Status(status) => println!("the bus is {status}"),
    ///         LifecycleEvent::Disconnected { connection, error } => println!("{connection}: {error}"),
    ///         other => println!("{other:?}"),
    ///     }
    /// }
    /// # Ok(()) }
    /// ```
    pub fn lifecycle(&self) -> Lifecycle {
        match self.client.any_session() {
            Some(session) => session.provider().health().lifecycle(),
            None => Health::default().lifecycle(),
        }
    }

    /// Returns what this bus has counted so far: failures, lag, redeliveries and the like.
    pub fn stats(&self) -> BusStats {
        self.client
            .any_session()
            .map_or_else(BusStats::default, |session| {
                BusStats::new(session.provider().health(), session.counters())
            })
    }

    /// Shuts the bus down: takes no new work, lets what has arrived finish within `grace`, ends the rest, gives back
    /// the leases that are not settled by then, and closes the provider. When it returns nothing runs any more.
    ///
    /// What the grace time is used for:
    ///
    /// - Handlers of topics and patterns handle the events that waited for them when the shutdown began. New events are not
    ///   taken; one that arrives just as it begins may be.
    /// - Functions answer the calls that had arrived.
    /// - Workers finish the items they have begun. What they have not begun goes back to its queue.
    /// - Leases held elsewhere are waited for.
    ///
    /// It ends as soon as all of that is done. Events that still wait when the grace time is over are dropped: nothing
    /// stores them. [`Duration::ZERO`] means now, as [`close`](Self::close) does: what runs is ended, and what waits is
    /// dropped or goes back. To drop the events of one handler only, drop its guard or unsubscribe it.
    ///
    /// Streams ([`Events`](crate::Events)) are not waited for, as only their reader knows when it is done. They get events
    /// until the provider is closed. What has arrived by then can still be read; after it comes the end.
    ///
    /// A handler may publish and call while it finishes. A second shutdown finds nothing to do; during the first it
    /// waits as well, and the shorter grace time wins. A handler that waits for it waits for itself, until its grace
    /// time is over. A handler that blocks its thread cannot be ended and is waited for. With a provider that does not
    /// answer, it takes as much longer as one command may take, to give leases back, and a second to close.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the bus takes no new work and is not closed; call it again.
    ///
    /// # Errors
    ///
    /// What the provider answers to its closing.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// bus.shutdown(Duration::from_secs(30)).await?;
    ///
    /// assert!(bus.is_closed());
    /// # Ok(()) }
    /// ```
    pub async fn shutdown(&self, grace: Duration) -> Result<()> {
        match self.client.any_session() {
            Some(session) => session.shutdown(grace).await,
            None => Ok(()),
        }
    }

    /// Closes the bus now: a [`shutdown`](Self::shutdown) without grace. Handlers that run are ended, and events that wait
    /// are dropped.
    ///
    /// # Errors
    ///
    /// What the provider answers to its closing.
    pub async fn close(&self) -> Result<()> {
        self.shutdown(Duration::ZERO).await
    }

    /// Tells whether a shutdown has begun, or the runtime of the bus has ended.
    pub fn is_closed(&self) -> bool {
        let session = self.client.any_session();
        session.is_some_and(|session| session.is_closed())
    }

    /// Returns the provider under this bus.
    ///
    /// # Errors
    ///
    /// [`NotInitialized`](ErrorKind::NotInitialized) on a bus that is not connected yet.
    pub fn provider(&self) -> Result<&Arc<dyn Provider>> {
        let operation = || "the provider of the bus".to_owned();
        let session = self.client.any_session();
        let session = session.ok_or_else(|| Error::new(ErrorKind::NotInitialized, operation()))?;
        Ok(session.provider())
    }
}

impl Registry {
    /// Connects a bus to the provider that a URL names.
    ///
    /// The URL is a text, or a [`ProviderUrl`](crate::ProviderUrl) from a configuration.
    ///
    /// # Errors
    ///
    /// [`InvalidConfig`](ErrorKind::InvalidConfig) for an invalid URL, and for an unknown scheme or
    /// parameter, with the nearest known name. Otherwise the error with which the provider fails
    /// within its connect timeout.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// let registry = pymq::registry();
    ///
    /// let url = std::env::var("SHOP_BUS_URL").unwrap_or("memory://".to_owned());
    /// let bus = registry.connect(url).await?;
    ///
    /// bus.ping(std::time::Duration::from_secs(1)).await?;
    /// # Ok(()) }
    /// ```
    pub async fn connect(&self, url: impl IntoProviderUrl) -> Result<Bus> {
        self.provider(url).await.map(Bus::new)
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("provider", &self.client.provider_name())
            .finish_non_exhaustive()
    }
}
