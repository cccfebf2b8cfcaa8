//! The server's side of a remote: [`Remote`], which exposes a function.

use std::sync::Arc;

use super::function::{self, RemoteFn, RemoteFunction};
use super::{Params, skeleton};
use crate::client::{Client, Registration, Running, Start};
use crate::error::{Error, Result};
use crate::name;
use crate::provider::BufferLimits;

/// How many calls of one function run at once by default.
const CONCURRENCY: usize = 64;

/// A name under which a function is exposed, from [`Bus::remote`](crate::Bus::remote).
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
/// bus.remote("product").concurrency(8).backlog(64).expose(product).await?.keep();
///
/// assert_eq!(bus.stub::<(i64, i64), i64>("product").call((6, 7)).await?, 42);
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing is exposed until `expose` is awaited"]
pub struct Remote {
    client: Client,
    name: String,
    concurrency: usize,
    backlog: BufferLimits,
}

impl Remote {
    pub(crate) fn new(client: Client, name: String) -> Self {
        Self {
            client,
            name,
            concurrency: CONCURRENCY,
            backlog: BufferLimits::default(),
        }
    }

    /// Lets this number of calls run at once: 64 unless set. Zero counts as one.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Lets this number of calls wait until they can run: 1,024 unless set. Zero counts as one.
    /// Further calls fail with [`Overloaded`](crate::ErrorKind::Overloaded).
    pub fn backlog(mut self, calls: usize) -> Self {
        self.backlog = self.backlog.items(calls);
        self
    }

    /// Exposes the function, as [`Bus::expose`](crate::Bus::expose) does.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, nothing stays exposed.
    ///
    /// # Errors
    ///
    /// As [`Bus::expose`](crate::Bus::expose).
    pub async fn expose<P: Params, Form>(
        self,
        function: impl RemoteFunction<P, Form>,
    ) -> Result<Running> {
        name::check(&self.name)?;
        let operation = format!("expose `{}`", self.name);
        let function = function::erase(function, self.client.states())
            .map_err(|error| Error::new(error.kind(), operation.clone()).with_source(error))?;
        let exposing = Exposing {
            name: self.name.as_str().into(),
            function,
            concurrency: self.concurrency,
            backlog: self.backlog,
            max_payload: self.client.max_payload(),
        };
        let start: Start = Arc::new(move |session, alive| {
            Box::pin(skeleton::start(session, exposing.clone(), alive))
        });
        let registration = Registration::new(operation, start).remote_of(&self.name);
        self.client.register(registration).await
    }
}

/// An exposed function and its settings.
#[derive(Clone)]
pub(super) struct Exposing {
    pub(super) name: Arc<str>,
    pub(super) function: RemoteFn,
    pub(super) concurrency: usize,
    pub(super) backlog: BufferLimits,
    pub(super) max_payload: usize,
}
