//! Queues: named lists of work. Each item goes to one taker, as in Python's `queue.Queue`, but
//! across machines.

mod contents;
mod dead_letters;
mod handle;
mod lease;
mod leasing;
mod limits;
mod put;
mod take;
mod taking;
mod worker;

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use crate::client::Client;
use crate::codec::{Decode, Tag, Tagged};
use crate::handler::Handler;
use crate::provider::{lease_time, once_window};

pub use self::dead_letters::{DeadLetter, DeadLetters};
use self::handle::Handle;
pub use self::lease::Lease;
use self::leasing::unreadable_reason;
pub use self::take::Items;
pub use self::worker::{ItemMeta, WorkerBuilder};

/// A named list of work: each item goes to one taker, the oldest first.
///
/// Cheap to clone and to share between tasks. The settings below belong to this handle and its
/// clones. The items are visible to all programs, those in Python included.
///
/// | how to take an item | method | if the taker dies, the item |
/// |---|---|---|
/// | remove it at once | [`get`](Self::get) | is lost |
/// | ack it when the work is done | [`lease`](Self::lease) | goes to another taker |
/// | run a function on each item | [`worker`](Self::worker) | goes to another taker |
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let jobs = bus.queue::<String>("jobs");
/// jobs.put("resize 17.png").await?;
///
/// let job = jobs.lease().await?;
/// println!("working on {}", *job);
/// job.ack().await?;
///
/// assert!(jobs.is_empty().await?);
/// # Ok(()) }
/// ```
pub struct Queue<T> {
    handle: Handle,
    /// How an item is written that is not plain data for Python.
    tag: Option<Tag>,
    item: PhantomData<fn(T) -> T>,
}

impl<T> Queue<T> {
    pub(crate) fn new(client: &Client, name: &str) -> Self {
        Self {
            handle: Handle::new(client, name),
            tag: None,
            item: PhantomData,
        }
    }

    /// Sets how long a lease lasts if it is not extended. The default is 30 seconds.
    ///
    /// A shorter time than 10 ms ([`MIN_LEASE`](crate::provider::MIN_LEASE)) is raised to 10 ms.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let videos = bus.queue::<String>("videos").lease_time(Duration::from_secs(600));
    /// # videos.put("intro.mp4").await?;
    ///
    /// let video = videos.lease().await?;
    /// # video.ack().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    #[doc(alias = "visibility_timeout", alias = "ack_wait")]
    pub fn lease_time(mut self, time: Duration) -> Self {
        self.handle.lease_time = lease_time(time);
        self
    }

    /// Sets how long the id of a [`put_once`](Self::put_once) is known. The default is 2 minutes.
    ///
    /// An id is known for at least 1 second ([`MIN_ONCE_WINDOW`](crate::provider::MIN_ONCE_WINDOW))
    /// and at most 30 days ([`MAX_ONCE_WINDOW`](crate::provider::MAX_ONCE_WINDOW)). The window of
    /// an id begins with the put that was [`New`](crate::Put::New), and that put sets its length.
    /// Each known id takes memory of the provider.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// let orders = bus.queue::<u32>("orders").once_window(Duration::from_secs(24 * 60 * 60));
    ///
    /// orders.put_once("order-17", &17).await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn once_window(mut self, window: Duration) -> Self {
        self.handle.once_window = once_window(window);
        self
    }

    /// Returns a handle that adds this header to each item that it puts. It replaces a header of
    /// the same name.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// jobs.header("tenant", "a").put(&1).await?;
    ///
    /// assert_eq!(jobs.lease().await?.headers().get("tenant"), Some("a"));
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn header(&self, name: impl Into<String>, value: impl Into<String>) -> Self {
        let mut queue = self.clone();
        queue.handle.headers.insert(name, value);
        queue
    }

    /// Returns a handle that adds these headers to each item that it puts. They replace headers of
    /// the same names.
    #[must_use]
    pub fn headers<K: Into<String>, V: Into<String>>(
        &self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        let mut queue = self.clone();
        queue.handle.headers.extend(headers);
        queue
    }

    /// Returns the name of the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// assert_eq!(bus.queue::<u32>("jobs").name(), "jobs");
    /// # Ok(()) }
    /// ```
    pub fn name(&self) -> &str {
        self.handle.local().name()
    }

    /// Prepares a worker: an async function that works on the items of this queue, each under a
    /// lease, until it is stopped.
    ///
    /// The function takes the item. It may take an [`ItemMeta`] as well, for the attempt and the
    /// headers. An item is acked when the function returns. It is tried again when the function
    /// returns an error or panics. After [`max_attempts`](Self::max_attempts) it becomes a dead
    /// letter. [`WorkerBuilder`] lists all promises.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// async fn resize(image: String) -> Result<(), std::io::Error> {
    ///     println!("resizing {image}");
    ///     Ok(())
    /// }
    ///
    /// let jobs = bus.queue::<String>("jobs");
    /// let worker = jobs.worker(resize).concurrency(4).start()?;
    ///
    /// jobs.put("17.png").await?;
    ///
    /// jobs.join().await?;
    /// worker.stop().await;
    /// # Ok(()) }
    /// ```
    #[doc(alias = "consumer")]
    pub fn worker<Form>(&self, handler: impl Handler<T, Form, ItemMeta>) -> WorkerBuilder
    where
        T: Decode + 'static,
    {
        WorkerBuilder::new(self.handle.clone(), handler)
    }

    /// Closes this queue for every handle of this bus, also for handles created later. Other buses
    /// are not affected.
    ///
    /// Puts fail with [`Closed`](crate::ErrorKind::Closed), also those that wait for space. Gets
    /// and leases take what is left and fail with `Closed` when the queue is empty. They do not
    /// wait any more. Leases that are held stay as they are.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    /// jobs.put(&1).await?;
    ///
    /// jobs.close();
    ///
    /// assert_eq!(jobs.get().await?, 1);
    /// assert_eq!(jobs.get().await.unwrap_err().kind(), pymq::ErrorKind::Closed);
    /// # Ok(()) }
    /// ```
    pub fn close(&self) {
        self.handle.client().queues().close(self.handle.local());
    }

    /// Tells whether this bus has closed the queue.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// jobs.close();
    ///
    /// assert!(bus.queue::<u32>("jobs").is_closed());
    /// # Ok(()) }
    /// ```
    pub fn is_closed(&self) -> bool {
        self.handle.local().is_closed()
    }

    /// Returns the dead letters of this queue: items that ran out of attempts or could not be read.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// for letter in jobs.dead_letters().peek(10).await? {
    ///     println!("{}: {}", letter.id(), letter.reason());
    /// }
    /// # Ok(()) }
    /// ```
    #[doc(alias = "dlq")]
    pub fn dead_letters(&self) -> DeadLetters<T> {
        DeadLetters::new(self.handle.clone())
    }
}

impl<V: Tagged> Queue<V> {
    /// Tags the items that this handle puts with their [`CLASS`](crate::Event::CLASS), so that
    /// Python gets instances of it.
    ///
    /// Without a tag, an item is plain data, and Python gets a dict for a struct. A handler in
    /// Python has an annotation that names the class, but a queue has none. Rust reads both forms.
    /// If an item is a `Vec` of events, Python gets a list of instances. An event inside another
    /// value, such as a field or the value of a map, is always plain data.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// #[derive(serde::Deserialize, serde::Serialize)]
    /// struct Placed {
    ///     order: u64,
    /// }
    /// pymq::event!(Placed, class = "shop.events.Placed");
    ///
    /// let orders = bus.queue::<Placed>("orders").tagged();
    /// orders.put(&Placed { order: 17 }).await?;
    ///
    /// let order = orders.lease().await?;
    /// assert_eq!(order.message().body, r#"{"order": 17, "__type": "shop.events.Placed"}"#);
    /// # order.ack().await?;
    /// # Ok(()) }
    /// ```
    #[must_use]
    pub fn tagged(mut self) -> Self {
        self.tag = V::TAG;
        self
    }
}

impl<T> Clone for Queue<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            tag: self.tag,
            item: PhantomData,
        }
    }
}

impl<T> fmt::Debug for Queue<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("name", &self.name())
            .field("items", &std::any::type_name::<T>())
            .field("is_closed", &self.is_closed())
            .finish_non_exhaustive()
    }
}
