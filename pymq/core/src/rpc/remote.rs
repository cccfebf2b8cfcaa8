//! The server's side of a remote: [`Remote`], which exposes a function.

use std::sync::Arc;

use super::function::{self, RemoteFn, RemoteFunction};
use super::{Params, skeleton};
use crate::client::{Client, Registration, Running, Start};
use crate::error::Result;
use crate::name;

/// What an exposed function consists of.
#[derive(Clone)]
pub(super) struct Exposing {
    pub(super) name: Arc<str>,
    pub(super) function: RemoteFn,
    pub(super) max_payload: usize,
}

/// Exposes a function, or holds it until the bus is connected.
pub(crate) async fn expose<P: Params, Form>(
    client: &Client,
    name: String,
    function: impl RemoteFunction<P, Form>,
) -> Result<Running> {
    name::check(&name)?;
    let exposing = Exposing {
        name: name.as_str().into(),
        function: function::erase(function),
        max_payload: client.max_payload(),
    };
    let start: Start =
        Arc::new(move |session, alive| Box::pin(skeleton::start(session, exposing.clone(), alive)));
    let registration = Registration::new(format!("expose `{name}`"), start);
    client.register(registration.remote_of(&name)).await
}
