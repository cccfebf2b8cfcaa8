//! Async functions as remotes: one implementation for each number of arguments, without their
//! types.

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
/// A remote function gets it as one more argument, the last one.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::rpc::CallMeta;
///
/// async fn greet(greeting: String, meta: CallMeta) -> String {
///     format!("{greeting}, {}", meta.headers().get("user").unwrap_or("stranger"))
/// }
///
/// bus.expose("greet", greet).await?.keep();
///
/// let greet = bus.stub::<(&str,), String>("greet").header("user", "Ada");
///
/// assert_eq!(greet.call(("hello",)).await?, "hello, Ada");
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

    /// Returns the time that the caller has left. It is zero if the caller has given up, and `None`
    /// if it has no deadline.
    ///
    /// If the function makes calls itself, give them no more time than this.
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline
            .map(|deadline| deadline.saturating_duration_since(Instant::now()))
    }
}

/// An async function that can be called by name.
///
/// It takes up to eight parameters. A [`State`] may come before them, and a [`CallMeta`] after
/// them.
///
/// It is implemented for plain `async fn`s and for closures that return futures. The parameter
/// `Form` only distinguishes the forms, and never needs a name.
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
///     if item != "eggs" {
///         return Err(RemoteError::new("KeyError", item));
///     }
///     Ok(Json(Stock { left: 3 }))
/// }
///
/// bus.expose("stock", stock).await?.keep();
/// bus.expose("add", |a: i64, b: i64| async move { a + b }).await?.keep();
/// # Ok(()) }
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be exposed as a remote",
    label = "not an async function of up to eight arguments that returns a reply",
    note = "write `async fn add(a: i64, b: i64) -> i64`",
    note = "or `|a: i64, b: i64| async move {{ a + b }}`",
    note = "each argument is `DeserializeOwned + Send`",
    note = "a `State<S>` may come before the arguments, and a `CallMeta` after them",
    note = "the result is `IntoReply` (wrap other serde types in `pymq::rpc::Json(..)`)",
    note = "the future is `Send + 'static`",
    note = "a closure must name the types of its arguments"
)]
pub trait RemoteFunction<P, Form>: Send + Sync + 'static {
    #[doc(hidden)]
    fn bind(
        self,
        states: &States,
    ) -> Result<impl Fn(P, CallMeta) -> Calling + Send + Sync + 'static>;
}

/// A running call.
pub(crate) type Calling = Pin<Box<dyn Future<Output = Reply> + Send>>;

/// Runs the future of a function, and makes the reply.
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

/// A function without its types. It decodes the arguments, runs, and makes the reply.
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
