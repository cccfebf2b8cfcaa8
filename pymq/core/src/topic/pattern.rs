//! All topics that match a glob. Their events can be handled or read, but not published.

use super::subscription::subscribing;
use crate::client::Client;
use crate::provider::Filter;

/// A glob over topics, from [`Bus::pattern`](crate::Bus::pattern). Cheap to clone.
///
/// `*` matches any characters, `?` one byte, `[ab]` and `[^a-c]` a class. `\` takes the meaning
/// from the next character. See [`glob`](crate::glob). A pattern has no `publish`, because it is
/// not a topic.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// use pymq::topic::Meta;
///
/// async fn log(order: u64, meta: Meta) {
///     println!("{}: {order}", meta.topic());
/// }
///
/// let logging = bus.pattern("orders.*").subscribe(log).await?;
///
/// bus.topic("orders.paid").publish(&7).await?;
///
/// logging.stop().await;
/// # Ok(()) }
/// ```
#[derive(Clone, Debug)]
pub struct Pattern {
    client: Client,
    glob: String,
}

impl Pattern {
    pub(crate) fn new(client: Client, glob: String) -> Self {
        Self { client, glob }
    }

    /// Returns the glob.
    pub fn glob(&self) -> &str {
        &self.glob
    }

    fn filter(&self) -> Filter {
        Filter::Pattern(self.glob.clone())
    }
}

subscribing! { Pattern }
