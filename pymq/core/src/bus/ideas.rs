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
}
