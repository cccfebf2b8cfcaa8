//! [`Bus`]: the handle everything starts from.

use std::fmt;
use std::sync::Arc;

use crate::connect::Connect;
use crate::error::{Error, ErrorKind, Result};
use crate::lease::HeldLeases;
use crate::message::Message;
use crate::provider::Provider;
use crate::queue::LocalQueues;
use crate::shutdown::Tasks;

/// The largest payload a bus sends unless told otherwise: 16 MiB.
pub const MAX_PAYLOAD: usize = 16 << 20;

/// A connection to the bus: topics, queues and remotes.
///
/// Cheap to clone; all clones are one bus.
#[derive(Clone)]
pub struct Bus {
    shared: Arc<Shared>,
}

struct Shared {
    provider: Arc<dyn Provider>,
    tasks: Tasks,
    queues: LocalQueues,
    leases: HeldLeases,
    max_payload: usize,
}

impl Bus {
    /// Connects with the configuration of a provider.
    ///
    /// # Errors
    ///
    /// What the provider answers within its connect timeout.
    pub async fn connect(config: impl Connect) -> Result<Self> {
        Ok(Self::new(config.connect().await?))
    }

    /// Creates a bus on a connected provider. Must be called on a tokio runtime, which the bus keeps for its tasks.
    pub fn new(provider: Arc<dyn Provider>) -> Self {
        Self {
            shared: Arc::new(Shared {
                provider,
                tasks: Tasks::new(),
                queues: LocalQueues::default(),
                leases: HeldLeases::default(),
                max_payload: MAX_PAYLOAD,
            }),
        }
    }

    /// Returns the provider under this bus.
    pub fn provider(&self) -> &Arc<dyn Provider> {
        &self.shared.provider
    }

    pub(crate) fn tasks(&self) -> &Tasks {
        &self.shared.tasks
    }

    pub(crate) fn queues(&self) -> &LocalQueues {
        &self.shared.queues
    }

    pub(crate) fn leases(&self) -> &HeldLeases {
        &self.shared.leases
    }

    /// Checks a payload before anything is sent.
    pub(crate) fn check_size(
        &self,
        operation: impl FnOnce() -> String,
        message: &Message,
    ) -> Result<()> {
        let limit = self.shared.max_payload;
        if message.size() <= limit {
            return Ok(());
        }
        let context = format!(
            "{}: payload of {} bytes, limit {limit}",
            operation(),
            message.size()
        );
        Err(Error::new(ErrorKind::TooLarge, context))
    }
}

impl fmt::Debug for Bus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bus")
            .field("provider", &self.shared.provider.name())
            .finish_non_exhaustive()
    }
}
