//! The caller's side of a remote: a name, the types of its arguments and result, and a deadline.

use std::fmt;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::{Pin, pin};
use std::sync::{Arc, OnceLock};
use std::task::Poll;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout_at};

use crate::client::{Client, LastAnswer, SERVED_GRACE, SERVED_PAUSE, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message};
use crate::name;
use crate::provider::{Replies, RequestOptions, Target};
use crate::rpc::Args;
use crate::rpc::responses::{self, Responses};

/// How long a call may take by default.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls a function by name. From [`Bus::stub`](crate::Bus::stub). Cheap to clone.
///
/// `A` is the tuple of arguments, `R` the result. The first call checks the name.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use std::time::Duration;
///
/// bus.expose("product", |a: i64, b: i64| async move { a * b }).await?.keep();
///
/// let product = bus.stub::<(i64, i64), i64>("product").timeout(Duration::from_secs(2));
///
/// assert_eq!(product.call((6, 7)).await?, 42);
/// # Ok(()) }
/// ```
#[doc(alias = "rpc", alias = "client", alias = "proxy")]
pub struct Stub<A, R> {
    shared: Arc<Shared>,
    timeout: Duration,
    headers: Headers,
    types: PhantomData<fn(A) -> R>,
}

/// What the clones of a stub share.
struct Shared {
    client: Client,
    name: Box<str>,
    /// Set by the first call.
    last_answer: OnceLock<Arc<LastAnswer>>,
}

impl<A, R> Stub<A, R> {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            shared: Arc::new(Shared {
                client,
                name: name.into(),
                last_answer: OnceLock::new(),
            }),
            timeout: DEFAULT_TIMEOUT,
            headers: Headers::new(),
            types: PhantomData,
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.shared.name
    }

    /// Sets how long a whole call may take: 10 seconds unless set.
    ///
    /// The remaining time is sent with the request. A server does not start an expired request.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a header to each call. It replaces one of the same name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds headers to each call. They replace those of the same names.
    #[must_use]
    pub fn headers<K: Into<String>, V: Into<String>>(
        mut self,
        headers: impl IntoIterator<Item = (K, V)>,
    ) -> Self {
        self.headers.extend(headers);
        self
    }
}

impl<A: Args, R: DeserializeOwned> Stub<A, R> {
    /// Calls one server and returns its result.
    ///
    /// # Delivery
    ///
    /// At most once, on exactly one Rust server. Every unmodified Python server runs the call, and
    /// the first answer counts. After a [`Timeout`](ErrorKind::Timeout) the function may have run.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the function may or may not run, and its answer is lost.
    ///
    /// # Errors
    ///
    /// - [`NoSuchRemote`](ErrorKind::NoSuchRemote) if no server exposes the name. The function did
    ///   not run. The error comes at once. If a server answered this bus within the last 10 s, it
    ///   comes after 2 s or half of the timeout, whichever is shorter.
    /// - [`Timeout`](ErrorKind::Timeout) if no answer came in time.
    /// - [`Remote`](ErrorKind::Remote) if the function failed or refused its arguments: see
    ///   [`Error::remote`].
    /// - [`Overloaded`](ErrorKind::Overloaded) if too many calls wait. The function did not run.
    /// - [`Codec`](ErrorKind::Codec) if the result is not an `R`.
    /// - [`TooLarge`](ErrorKind::TooLarge), [`InvalidName`](ErrorKind::InvalidName) and
    ///   [`Closed`](ErrorKind::Closed).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use pymq::ErrorKind;
    /// use pymq::rpc::RemoteError;
    ///
    /// async fn price(item: String) -> Result<f64, RemoteError> {
    ///     Err(RemoteError::new("KeyError", item))
    /// }
    /// bus.expose("price", price).await?.keep();
    ///
    /// let error = bus.stub::<(&str,), f64>("price").call(("eggs",)).await.unwrap_err();
    ///
    /// assert_eq!(error.kind(), ErrorKind::Remote);
    /// assert_eq!(error.remote().map(RemoteError::type_name), Some("KeyError"));
    /// # Ok(()) }
    /// ```
    pub async fn call(&self, args: A) -> Result<R> {
        let start = Instant::now();
        let reply = async |request, options| {
            let mut replies = self.send(request, options).await?;
            replies.recv().await.unwrap_or_else(|| {
                let context = responses::context(self.name());
                Err(Error::new(ErrorKind::NoSuchRemote, context))
            })
        };
        let exchange = pin!(self.exchange(args, Target::One, start, reply));
        let reply = self.in_time(start, exchange).await?;
        responses::decode(self.name(), reply)
    }

    /// Calls all servers, and returns their results as they arrive.
    ///
    /// All servers have one deadline. At its end there is one [`Timeout`](ErrorKind::Timeout) for
    /// each server that has not answered. The failure of one server is one item.
    ///
    /// # Delivery
    ///
    /// At most once on each current server.
    ///
    /// If there is no server, but one answered this bus within the last 10 s, the call waits for a
    /// server: at most 2 s, and at most half of the timeout.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, the function may or may not run, and the answers are lost.
    ///
    /// # Errors
    ///
    /// [`NoSuchRemote`](ErrorKind::NoSuchRemote) if no server exposes the name. Otherwise as
    /// [`call`](Self::call), for each server separately.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// use std::time::Duration;
    ///
    /// bus.expose("load", async || 0.5).await?.keep();
    ///
    /// let load = bus.stub::<(), f64>("load").timeout(Duration::from_millis(500));
    /// for load in load.call_all(()).await?.all().await {
    ///     println!("{}", load?);
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn call_all(&self, args: A) -> Result<Responses<R>> {
        // The time to send the request is part of the deadline.
        let start = Instant::now();
        let replies = |request, options| self.send(request, options);
        let exchange = pin!(self.exchange(args, Target::All, start, replies));
        let replies = self.in_time(start, exchange).await?;
        Ok(Responses::new(
            Arc::clone(self.session()?),
            self.name().to_owned(),
            replies,
            start.checked_add(self.timeout),
        ))
    }

    /// Waits for the end of a call that began at `start`, until its timeout, and notes that a server
    /// answered.
    async fn in_time<T>(
        &self,
        start: Instant,
        mut exchange: Pin<&mut impl Future<Output = Result<T>>>,
    ) -> Result<T> {
        // A call that ends at once needs no timer and no second look at the clock.
        let first = poll_fn(|cx| Poll::Ready(exchange.as_mut().poll(cx))).await;
        if let Poll::Ready(exchanged) = first {
            return exchanged.inspect(|_| self.note_answer(start));
        }
        let exchanged = match start.checked_add(self.timeout) {
            None => exchange.await,
            Some(deadline) => timeout_at(deadline, exchange)
                .await
                .map_err(|_| responses::timed_out(self.name()))?,
        };
        exchanged.inspect(|_| self.note_answer(Instant::now()))
    }

    fn note_answer(&self, now: Instant) {
        if let Some(last_answer) = self.shared.last_answer.get() {
            last_answer.note(now);
        }
    }

    fn request(&self, args: &A) -> Result<Message> {
        name::check(self.name())?;
        let operation = || responses::context(self.name());
        if self.timeout.is_zero() {
            return Err(Error::new(ErrorKind::Timeout, operation()));
        }
        let body = args
            .to_json()
            .map_err(|error| Error::new(error.kind(), operation()).with_source(error))?;
        let mut message = Message::json(body);
        message.headers = self.headers.clone();
        self.shared.client.check_size(operation, &message)?;
        Ok(message)
    }

    /// Makes a request, and sends it by `send`.
    ///
    /// If there is no server, but there was one a moment ago, it tries again for at most
    /// [`SERVED_GRACE`] and half of the timeout. The server may be reconnecting or restarting.
    async fn exchange<T, F: Future<Output = Result<T>>>(
        &self,
        args: A,
        to: Target,
        start: Instant,
        send: impl Fn(Message, RequestOptions) -> F,
    ) -> Result<T> {
        let mut request = self.request(&args)?;
        let (mut now, mut left) = (start, self.timeout);
        let session = self.session()?;
        let last_answer = self
            .shared
            .last_answer
            .get_or_init(|| session.served().of(self.name()));
        loop {
            let options = RequestOptions {
                to,
                timeout: Some(left),
                start: Some(now),
            };
            match send(request, options).await {
                // Nothing was sent.
                Err(error)
                    if error.kind() == ErrorKind::NoSuchRemote
                        && start.elapsed() < SERVED_GRACE.min(self.timeout / 2)
                        && last_answer.is_recent() => {}
                exchanged => return exchanged,
            }
            sleep(SERVED_PAUSE).await;
            request = self.request(&args)?;
            now = Instant::now();
            left = self.timeout.saturating_sub(now.duration_since(start));
        }
    }

    async fn send(&self, request: Message, options: RequestOptions) -> Result<Replies> {
        let provider = self.session()?.provider();
        provider.rpc_request(self.name(), request, options).await
    }

    fn session(&self) -> Result<&Arc<Session>> {
        self.shared
            .client
            .session(|| responses::context(self.name()))
    }
}

impl<A, R> Clone for Stub<A, R> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            timeout: self.timeout,
            headers: self.headers.clone(),
            types: PhantomData,
        }
    }
}

impl<A, R> fmt::Debug for Stub<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub")
            .field("name", &self.name())
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
