//! From functions to remotes: by arity, with the types erased at the door.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::error::Result;
use crate::isolation::Isolated;
use crate::message::{Headers, Message};
use crate::provider::{Reply, Request};
use crate::rpc::{IntoReply, Params};
use crate::state::{State, States};

/// What is known about a call besides its arguments.
///
/// A remote function gets it by one argument more, at the end.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::rpc::CallMeta;
///
/// async fn who(greeting: String, meta: CallMeta) -> String {
///     format!("{greeting}, {}", meta.headers().get("user").unwrap_or("stranger"))
/// }
///
/// bus.expose("who", who).await?.keep();
///
/// let greeting: String = bus.stub::<(&str,), _>("who").header("user", "Ada").call(("hello",)).await?;
///
/// assert_eq!(greeting, "hello, Ada");
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct CallMeta {
    headers: Headers,
    deadline: Option<Instant>,
}

impl CallMeta {
    pub(crate) fn new(request: &Request) -> Self {
        Self {
            headers: request.message().headers.clone(),
            deadline: request.deadline(),
        }
    }

    /// Returns the headers of the call.
    pub fn headers(&self) -> &Headers {
        &self.headers
    }

    /// Returns the time the caller has left, zero when it has given up; none when it waits for ever.
    ///
    /// What a function calls in turn is best given no more than this.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// An async function that can be called by name: up to eight parameters, a [`CallMeta`] behind them if
/// it wants one, and a [`State`] before them if it needs one.
///
/// Implemented for plain `async fn`s and for closures that return futures. The parameter `Form` only keeps the forms
/// apart: there is never a need to name it.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::rpc::{CallMeta, Json, RemoteError};
/// use serde::Serialize;
///
/// #[derive(Serialize)]
/// struct Stock {
///     left: u32,
/// }
///
/// async fn stock(item: String, _meta: CallMeta) -> Result<Json<Stock>, RemoteError> {
///     if item == "eggs" { Ok(Json(Stock { left: 3 })) } else { Err(RemoteError::new("KeyError", item)) }
/// }
///
/// bus.expose("stock", stock).await?.keep();
/// bus.expose("add", |a: i64, b: i64| async move { a + b }).await?.keep();
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exposed as a remote",
    label = "not an async function of up to eight arguments that returns a reply",
    note = "write `async fn add(a: i64, b: i64) -> i64` or `|a: i64, b: i64| async move {{ a + b }}`",
    note = "each argument is `DeserializeOwned + Send`; a `CallMeta` may follow as the last, and a `State<S>` stand before all",
    note = "the result is `IntoReply` (any other serde type goes in `pymq::rpc::Json(..)`), and the future is `Send + 'static`",
    note = "the types of a closure's arguments have to be written out"
)]
pub trait RemoteFunction<P, Form>: Send + Sync + 'static {
    #[doc(hidden)]
    fn bind(
        self,
        states: &States,
    ) -> Result<impl Fn(P, CallMeta) -> Calling + Send + Sync + 'static>;
}

/// One call running.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Runs what a function returned to its reply.
fn calling(returned: impl Future<Output: IntoReply> + Send + 'static) -> Calling {
    Box::pin(async { returned.await.into_reply() })
}

macro_rules! arities {
    ($(($($param:ident $arg:ident)*))+) => {$(
        impl<Fun, Fut, $($param: 'static),*> RemoteFunction<($($param,)*), fn($($param),*)> for Fun
        where
            Fun: Fn($($param),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            ($($param,)*): Params,
        {
            fn bind(
                self,
                _: &States,
            ) -> Result<impl Fn(($($param,)*), CallMeta) -> Calling + Send + Sync + 'static> {
                Ok(move |($($arg,)*): ($($param,)*), _| calling(self($($arg),*)))
            }
        }

        impl<Fun, Fut, $($param: 'static),*> RemoteFunction<($($param,)*), fn($($param,)* CallMeta)>
            for Fun
        where
            Fun: Fn($($param,)* CallMeta) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            ($($param,)*): Params,
        {
            fn bind(
                self,
                _: &States,
            ) -> Result<impl Fn(($($param,)*), CallMeta) -> Calling + Send + Sync + 'static> {
                Ok(move |($($arg,)*): ($($param,)*), meta| calling(self($($arg,)* meta)))
            }
        }

        impl<Fun, Fut, S, $($param: 'static),*>
            RemoteFunction<($($param,)*), (State<S>, fn($($param),*))> for Fun
        where
            Fun: Fn(State<S>, $($param),*) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            S: Clone + Send + Sync + 'static,
            ($($param,)*): Params,
        {
            fn bind(
                self,
                states: &States,
            ) -> Result<impl Fn(($($param,)*), CallMeta) -> Calling + Send + Sync + 'static> {
                let state = states.get::<S>()?;
                Ok(move |($($arg,)*): ($($param,)*), _| calling(self(state.clone(), $($arg),*)))
            }
        }

        impl<Fun, Fut, S, $($param: 'static),*>
            RemoteFunction<($($param,)*), (State<S>, fn($($param,)* CallMeta))> for Fun
        where
            Fun: Fn(State<S>, $($param,)* CallMeta) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoReply> + Send + 'static,
            S: Clone + Send + Sync + 'static,
            ($($param,)*): Params,
        {
            fn bind(
                self,
                states: &States,
            ) -> Result<impl Fn(($($param,)*), CallMeta) -> Calling + Send + Sync + 'static> {
                let state = states.get::<S>()?;
                Ok(move |($($arg,)*): ($($param,)*), meta| {
                    calling(self(state.clone(), $($arg,)* meta))
                })
            }
        }
    )+};
}

arities! {
    ()
    (A a)
    (A a B b)
    (A a B b C c)
    (A a B b C c D d)
    (A a B b C c D d E e)
    (A a B b C c D d E e G g)
    (A a B b C c D d E e G g H h)
    (A a B b C c D d E e G g H h I i)
}

/// A function with its types erased: decodes its arguments, runs, makes the reply.
pub(crate) type RemoteFn = Arc<dyn Fn(&str, &Message, CallMeta) -> Calling + Send + Sync>;

/// Erases the types of a function.
pub(crate) fn erase<P: Params, Form>(
    function: impl RemoteFunction<P, Form>,
    states: &States,
) -> Result<RemoteFn> {
    let function = Isolated::new(function.bind(states)?);
    Ok(Arc::new(move |name, message, meta| {
        match P::from_json(name, &message.body) {
            Ok(params) => function(params, meta),
            Err(error) => Box::pin(ready(Reply::Err(error))),
        }
    }))
}
