//! Async functions as handlers: the forms that they may have, and the one form that is used inside.
//!
//! The failure of a handler is logged and counted. The next event still arrives.

use std::any::type_name;
use std::error::Error as StdError;
use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;

use crate::codec::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::isolation::Isolated;
use crate::message::{Headers, Published};
use crate::state::{State, States};
use crate::text::cut;

/// What is known about an event besides its value.
///
/// A handler gets it as a second argument. It keeps the payload of the event in memory.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::topic::Meta;
///
/// async fn audit(order: u64, meta: Meta) {
///     println!("{} {order} for {:?}", meta.topic(), meta.headers().get("tenant"));
/// }
///
/// bus.pattern("orders.*").subscribe(audit).await?.keep();
///
/// bus.topic("orders.paid").header("tenant", "a").publish(&7).await?;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Meta {
    published: Published,
}

impl Meta {
    pub(crate) fn new(published: Published) -> Self {
        Self { published }
    }

    /// Returns the topic on which the event was published, also for a handler of a pattern.
    pub fn topic(&self) -> &str {
        self.published.topic()
    }

    /// Returns the headers of the event.
    pub fn headers(&self) -> &Headers {
        &self.published.message().headers
    }
}

/// An async function that handles values of type `E`: `Fn(E)` or `Fn(E, M)`. A [`State`] may be its
/// first argument.
///
/// `M` is what is known about the value: [`Meta`] for the events of a subscription,
/// [`ItemMeta`](crate::ItemMeta) for the items of a [worker](crate::Queue::worker).
///
/// It is implemented for plain `async fn`s and for closures that return futures. They return `()`
/// or a `Result<(), E>`, where `E` is an error type, `anyhow::Error`, a `String` or a `&str`. The
/// parameter `Form` only distinguishes the forms, and never needs a name.
///
/// A closure clones what it captures for each value, because its future must own it.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use std::sync::Arc;
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// async fn print(text: String) {
///     println!("{text}");
/// }
/// bus.topic("news").subscribe(print).await?.keep();
///
/// let count = Arc::new(AtomicU64::new(0));
/// let counting = move |_: String| {
///     let count = Arc::clone(&count);
///     async move {
///         count.fetch_add(1, Ordering::Relaxed);
///     }
/// };
/// bus.topic("news").subscribe(counting).await?.keep();
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "not an async function of a value, with an optional `State` before and `{M}` after",
    note = "write `async fn handle(event: Placed)`",
    note = "or `|event: Placed, meta: {M}| async move {{ .. }}`",
    note = "a `State<S>` may come before them, where `S: Clone + Send + Sync + 'static`",
    note = "it returns `()` or `Result<(), E>`, where `E` is an error, a `String` or a `&str`",
    note = "its future is `Send + 'static`",
    note = "a closure must name the types of its arguments"
)]
pub trait Handler<E, Form, M = Meta>: Send + Sync + 'static {
    #[doc(hidden)]
    fn bind(self, states: &States) -> Result<impl Fn(E, M) -> Handling + Send + Sync + 'static>;
}

/// A running handler.
pub(crate) type Handling = Pin<Box<dyn Future<Output = Result<(), String>> + Send>>;

/// Runs the future of a handler, and makes the result.
fn handling(returned: impl Future<Output: HandlerOutput> + Send + 'static) -> Handling {
    Box::pin(async { returned.await.into_result() })
}

impl<F, Fut, E: 'static, M: 'static> Handler<E, fn(E), M> for F
where
    F: Fn(E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
{
    fn bind(self, _: &States) -> Result<impl Fn(E, M) -> Handling + Send + Sync + 'static> {
        Ok(move |event, _| handling(self(event)))
    }
}

impl<F, Fut, E: 'static, M: 'static> Handler<E, fn(E, M), M> for F
where
    F: Fn(E, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
{
    fn bind(self, _: &States) -> Result<impl Fn(E, M) -> Handling + Send + Sync + 'static> {
        Ok(move |event, meta| handling(self(event, meta)))
    }
}

impl<F, Fut, S, E: 'static, M: 'static> Handler<E, (State<S>, fn(E)), M> for F
where
    F: Fn(State<S>, E) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    fn bind(self, states: &States) -> Result<impl Fn(E, M) -> Handling + Send + Sync + 'static> {
        let state = states.get::<S>()?;
        Ok(move |event, _| handling(self(state.clone(), event)))
    }
}

impl<F, Fut, S, E: 'static, M: 'static> Handler<E, (State<S>, fn(E, M)), M> for F
where
    F: Fn(State<S>, E, M) -> Fut + Send + Sync + 'static,
    Fut: Future<Output: HandlerOutput> + Send + 'static,
    S: Clone + Send + Sync + 'static,
{
    fn bind(self, states: &States) -> Result<impl Fn(E, M) -> Handling + Send + Sync + 'static> {
        let state = states.get::<S>()?;
        Ok(move |event, meta| handling(self(state.clone(), event, meta)))
    }
}

/// What a handler may return: `()`, or a `Result<(), E>`. An error is counted, and logged with its
/// causes.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    note = "it returns `()` or `Result<(), E>`, where `E` is an error, a `String` or a `&str`"
)]
pub trait HandlerOutput {
    /// Returns the failure as text.
    #[doc(hidden)]
    fn into_result(self) -> Result<(), String>;
}

impl HandlerOutput for () {
    fn into_result(self) -> Result<(), String> {
        Ok(())
    }
}

impl<E: Into<BoxError>> HandlerOutput for Result<(), E> {
    fn into_result(self) -> Result<(), String> {
        self.map_err(|error| with_causes(&*error.into()))
    }
}

/// An error of the application, of any type.
pub(crate) type BoxError = Box<dyn StdError + Send + Sync>;

/// Returns the text of an error and of its causes.
pub(crate) fn with_causes(error: &(dyn StdError + 'static)) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    cut(&text).into_owned()
}

/// A handler without its types. It decodes the message and handles the value.
pub(crate) type EventFn = Arc<dyn Fn(Published) -> Outcome + Send + Sync>;

/// An event that is being handled.
type Outcome = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Why an event was not handled, as text. The error itself is a type of the user, and is dropped
/// where it is caught.
pub(crate) enum Failure {
    Undecodable(String),
    Failed(String),
}

/// Erases the types of a handler.
pub(crate) fn erase<E, Form>(handler: impl Handler<E, Form>, states: &States) -> Result<EventFn>
where
    E: Decode + 'static,
{
    let handler = Isolated::new(handler.bind(states)?);
    Ok(Arc::new(move |published| {
        match E::decode(published.message()).map_err(|cause| undecodable::<E>(&published, cause)) {
            Ok(event) => {
                let handling = handler(event, Meta::new(published));
                Box::pin(async { handling.await.map_err(Failure::Failed) })
            }
            Err(error) => Box::pin(ready(Err(Failure::Undecodable(with_causes(&error))))),
        }
    }))
}

/// Creates the error of an event that is not an `E`. It names the type and the topic, and contains
/// the payload.
pub(crate) fn undecodable<E>(published: &Published, cause: Error) -> Error {
    let context = format!("event on `{}` as {}", published.topic(), type_name::<E>());
    Error::new(ErrorKind::Codec, context)
        .with_source(cause)
        .with_payload(published.message().body.clone())
}
