//! Topics, queues and remote calls of a [`Bus`].

use serde::de::DeserializeOwned;

use super::Bus;
use crate::client::Running;
use crate::codec::Decode;
#[cfg(doc)]
use crate::error::ErrorKind;
use crate::error::Result;
use crate::event::Event;
use crate::handler::Handler;
use crate::provider::Filter;
use crate::queue::Queue;
use crate::rpc::{Args, Params, Remote, RemoteFunction, Responses, Stub};
use crate::topic::{Pattern, Publication, SubscriptionBuilder, Topic};

impl Bus {
    /// Publishes an event on the topic of its type. Returns how many subscribers it reached.
    ///
    /// Each bus counts once for all its handlers of the topic, and once for each of its patterns
    /// that matches.
    ///
    /// # Delivery
    ///
    /// At most once to each current subscriber, in order for each publisher. Nothing is stored.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the event may or may not be sent.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) and [`Codec`](ErrorKind::Codec) before anything is sent.
    /// [`Disconnected`](ErrorKind::Disconnected), [`Timeout`](ErrorKind::Timeout) and
    /// [`Closed`](ErrorKind::Closed).
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
    /// assert_eq!(reached, 0, "there is no subscriber");
    /// # Ok(()) }
    /// ```
    pub async fn publish<E: Event>(&self, event: &E) -> Result<usize> {
        self.header_free().publish(event).await
    }

    /// Publishes an event soon, and does not wait until it is sent.
    ///
    /// The events of a bus are sent in their order, in large batches. So one task publishes several
    /// times as many events as with [`publish`](Self::publish). It waits only while the buffer is
    /// full, with 4,096 events or 16 MiB. The number of subscribers is not returned.
    ///
    /// # Delivery
    ///
    /// As [`publish`](Self::publish). An event that cannot be sent is an error of the next
    /// [`flush`](Self::flush), and counts as [`unpublished`](crate::BusStats::unpublished). A
    /// [shutdown](Self::shutdown) sends what is buffered. Buffered events are lost if the process
    /// dies, or if the last handle of the bus is dropped without a shutdown. So flush first.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the event is not published.
    ///
    /// # Errors
    ///
    /// [`TooLarge`](ErrorKind::TooLarge) and [`Codec`](ErrorKind::Codec). The event is not
    /// published then. After a shutdown, [`Closed`](ErrorKind::Closed) comes from the next flush.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// # #[derive(serde::Serialize)] struct Placed { order: u64 }
    /// # pymq::event!(Placed);
    /// for order in 0..1_000 {
    ///     bus.publish_nowait(&Placed { order }).await?;
    /// }
    /// bus.flush().await?;
    /// # Ok(()) }
    /// ```
    pub async fn publish_nowait<E: Event>(&self, event: &E) -> Result<()> {
        self.header_free().publish_nowait(event).await
    }

    /// Waits until all earlier events of [`publish_nowait`](Self::publish_nowait) are sent, by any
    /// task of this bus.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe. The events are sent anyway, and failures are reported by the next flush.
    ///
    /// # Errors
    ///
    /// If an event since the last flush was not published, or may not have been: the kind of the
    /// first failure, with that failure as the source and the number of events in the text.
    pub async fn flush(&self) -> Result<()> {
        let operation = || "flush".to_owned();
        let session = self.client.session(operation)?;
        session.publishing().flush(operation).await
    }

    /// Prepares a publication with a header: `bus.header("trace", "af01").publish(&event)`.
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

    /// Prepares a publication with headers.
    pub fn headers<K: Into<String>, V: Into<String>>(
        &self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Publication {
        self.header_free().headers(headers)
    }

    fn header_free(&self) -> Publication {
        Publication::new(self.client.clone())
    }

    /// Subscribes a handler to the topic of its event. Resolves when it is live.
    ///
    /// Events are handled one after the other, in order. To handle several at once, call
    /// `bus.topic(Placed::TOPIC).concurrency(4).subscribe(handler)`. A handler that fails or
    /// panics, and an event that cannot be decoded, are logged and counted. The next event still
    /// arrives.
    ///
    /// # Delivery
    ///
    /// At most once. If a handler is too slow for its topic, the oldest waiting events are dropped.
    /// That is logged and counted too.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays subscribed.
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

    /// Returns a topic, to publish on and to subscribe to.
    pub fn topic(&self, name: impl Into<String>) -> Topic {
        Topic::new(self.client.clone(), name.into().into())
    }

    /// Returns all topics that match a glob, to subscribe to.
    pub fn pattern(&self, glob: impl Into<String>) -> Pattern {
        Pattern::new(self.client.clone(), glob.into())
    }

    /// Returns a handle of the queue `name` with items of type `T`.
    ///
    /// It creates nothing and sends nothing: a queue exists while it contains items. The first
    /// operation checks the name.
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

    /// Exposes a function under a name. Resolves when it can be called.
    ///
    /// The function takes up to eight arguments. A [`CallMeta`](crate::CallMeta) as one more
    /// argument at the end gives it the headers and the remaining time. It returns any
    /// [`IntoReply`](crate::IntoReply) type, or a `Result` of one.
    ///
    /// 64 calls run at once and 1,024 more may wait. Further calls fail with
    /// [`Overloaded`](ErrorKind::Overloaded). The caller gets an error for a panic and for wrong
    /// arguments. If the caller has given up before the call starts, the function does not run.
    ///
    /// Each call runs in a task of its own, so a function that blocks its thread does not delay the
    /// next call.
    ///
    /// # Delivery
    ///
    /// At most once for each call.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays exposed.
    ///
    /// # Errors
    ///
    /// [`AlreadyExposed`](ErrorKind::AlreadyExposed) if this bus already exposes the name. Other
    /// buses may expose it too.
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

    /// Prepares a remote, to set how many of its calls may run and wait at once.
    pub fn remote(&self, name: impl Into<String>) -> Remote {
        Remote::new(self.client.clone(), name.into())
    }

    /// Returns the caller's side of a remote: `bus.stub::<(i64, i64), i64>("product")`.
    pub fn stub<A, R>(&self, name: impl Into<String>) -> Stub<A, R> {
        Stub::new(self.client.clone(), name.into())
    }

    /// Calls all servers that expose the name, with the default timeout of 10 seconds, as
    /// [`Stub::call_all`] does.
    ///
    /// # Cancel safety
    ///
    /// As [`Stub::call_all`].
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
}
