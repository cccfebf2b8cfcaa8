//! The caller's side of a remote: a name, the types of its arguments and result, and a deadline.

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep, timeout};

use crate::client::{Client, SERVED_GRACE, SERVED_PAUSE, Session};
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message};
use crate::name;
use crate::provider::{Replies, Reply, RequestOptions, Target};
use crate::rpc::Args;
use crate::rpc::responses::{self, Responses};

/// How long a call may take unless told otherwise.
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// Calls a function by name; made by [`Bus::stub`](crate::Bus::stub). Cheap to clone.
///
/// `A` is the tuple of arguments, `R` the result. The name is checked when it is called.
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
    client: Client,
    name: String,
    timeout: Duration,
    headers: Headers,
    types: PhantomData<fn(A) -> R>,
}

impl<A, R> Stub<A, R> {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            timeout: DEFAULT_TIMEOUT,
            headers: Headers::new(),
            types: PhantomData,
        }
    }

    /// Returns the name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Sets how long a call may take as a whole; 10 seconds unless set.
    ///
    /// The time that remains travels with the request: a server does not start an expired one.
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = timeout;
        self
    }

    /// Adds a header to each call, replacing the one of the same name.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds headers to each call, replacing those of the same names.
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
    /// At most once, on exactly one Rust server; every unmodified Python server runs it, and the first answer counts.
    /// After a [`Timeout`](ErrorKind::Timeout) it may have run.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the function may or may not run; its answer is forgotten.
    ///
    /// # Errors
    ///
    /// [`NoSuchRemote`](ErrorKind::NoSuchRemote) when no server exposes it: at once, or where one answered this bus within
    /// the last 10 s, after 2 s or half of the timeout; it did not run. [`Timeout`](ErrorKind::Timeout);
    /// [`Remote`](ErrorKind::Remote) when it failed or refused its arguments, see [`Error::remote`];
    /// [`Overloaded`](ErrorKind::Overloaded) when it did not run; [`Codec`](ErrorKind::Codec) when the result is no `R`;
    /// [`TooLarge`](ErrorKind::TooLarge), [`InvalidName`](ErrorKind::InvalidName), [`Closed`](ErrorKind::Closed).
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
        let message = self.request(&args)?;
        let (_, reply) = timeout(self.timeout, self.exchange(message, Target::One))
            .await
            .map_err(|_| responses::timed_out(&self.name))??;
        let reply = reply
            .ok_or_else(|| Error::new(ErrorKind::NoSuchRemote, responses::context(&self.name)))?;
        responses::decode(&self.name, reply)
    }

    /// Calls every server there is and returns their results as they come.
    ///
    /// One deadline holds for all of them; at its end there is one [`Timeout`](ErrorKind::Timeout) for each server
    /// still missing. The failure of one server is an item of its own.
    ///
    /// # Delivery
    ///
    /// At most once on each server there is at this moment.
    ///
    /// A name that was served within the last 10 s and is not now is waited for: 2 s and half of the timeout at most.
    ///
    /// # Cancel safety
    ///
    /// Dropped early, the function may or may not run; the answers are forgotten.
    ///
    /// # Errors
    ///
    /// [`NoSuchRemote`](ErrorKind::NoSuchRemote) when no server exposes it; else as [`call`](Self::call), each server
    /// for itself.
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
        let message = self.request(&args)?;
        // Counted from here, so that sending is part of the one deadline.
        let deadline = responses::deadline(self.timeout);
        let sending = timeout(self.timeout, self.exchange(message, Target::All));
        let (replies, _) = sending
            .await
            .map_err(|_| responses::timed_out(&self.name))??;
        Ok(Responses::new(
            Arc::clone(self.session()?),
            self.name.clone(),
            replies,
            deadline,
        ))
    }

    fn request(&self, args: &A) -> Result<Message> {
        name::check(&self.name)?;
        let operation = || responses::context(&self.name);
        if self.timeout.is_zero() {
            return Err(Error::new(ErrorKind::Timeout, operation()));
        }
        let body = args
            .to_json()
            .map_err(|error| Error::new(error.kind(), operation()).with_source(error))?;
        let mut message = Message::json(body);
        message.headers = self.headers.clone();
        self.client.check_size(operation, &message)?;
        Ok(message)
    }

    /// Sends a request, and waits for the reply of one server. A name that was served a moment ago is waited for, for
    /// [`SERVED_GRACE`] and half of the timeout at most: its server may have lost its connection, or be restarted.
    async fn exchange(&self, message: Message, to: Target) -> Result<(Replies, Option<Reply>)> {
        let start = Instant::now();
        let grace = SERVED_GRACE.min(self.timeout / 2);
        let session = self.session()?;
        let served = session.served();
        loop {
            let left = self.timeout.saturating_sub(start.elapsed());
            match self.attempt(message.clone(), to, left).await {
                // Nothing was sent.
                Err(error)
                    if error.kind() == ErrorKind::NoSuchRemote
                        && start.elapsed() < grace
                        && served.is_recent(&self.name) => {}
                Ok(exchanged) => {
                    served.note(&self.name);
                    return Ok(exchanged);
                }
                Err(error) => return Err(error),
            }
            sleep(SERVED_PAUSE).await;
        }
    }

    async fn attempt(
        &self,
        message: Message,
        to: Target,
        left: Duration,
    ) -> Result<(Replies, Option<Reply>)> {
        let mut replies = self.send(message, to, left).await?;
        let reply = match to {
            Target::One => replies.recv().await.transpose()?,
            _ => None,
        };
        Ok((replies, reply))
    }

    async fn send(&self, message: Message, to: Target, left: Duration) -> Result<Replies> {
        let options = RequestOptions::default().to(to).timeout(left);
        let provider = self.session()?.provider();
        provider.rpc_request(&self.name, message, options).await
    }

    fn session(&self) -> Result<&Arc<Session>> {
        self.client.session(|| responses::context(&self.name))
    }
}

impl<A, R> Clone for Stub<A, R> {
    fn clone(&self) -> Self {
        Self {
            client: self.client.clone(),
            name: self.name.clone(),
            timeout: self.timeout,
            headers: self.headers.clone(),
            types: PhantomData,
        }
    }
}

impl<A, R> fmt::Debug for Stub<A, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stub")
            .field("name", &self.name)
            .field("timeout", &self.timeout)
            .finish_non_exhaustive()
    }
}
