//! Dead letters: items that ran out of attempts or could not be read. Each is stored with its
//! reason, can be read, and can be put back.

use std::fmt;
use std::marker::PhantomData;

use super::handle::Handle;
use crate::codec::Decode;
use crate::error::{Error, ErrorKind, Result};
use crate::message::{Headers, Message, MessageId};
use crate::provider::{Part, Redrive, Stored};

const VERB: &str = "dead letter of";

/// The dead letters of one queue, made by [`Queue::dead_letters`](super::Queue::dead_letters).
///
/// Cheap to clone.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let jobs = bus.queue::<u32>("jobs").max_attempts(1);
/// jobs.put(&7).await?;
/// jobs.lease().await?.nack().await?;
/// assert!(jobs.try_lease().await?.is_none());
///
/// let letters = jobs.dead_letters().peek(10).await?;
/// assert_eq!(letters[0].read()?, 7);
///
/// jobs.dead_letters().redrive().await?;
/// assert_eq!(jobs.get().await?, 7);
/// # Ok(()) }
/// ```
pub struct DeadLetters<T> {
    handle: Handle,
    items: PhantomData<fn() -> T>,
}

impl<T> DeadLetters<T> {
    pub(super) fn new(handle: Handle) -> Self {
        Self {
            handle,
            items: PhantomData,
        }
    }

    /// Counts the dead letters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`Closed`](crate::ErrorKind::Closed) after a shutdown, or any other error of the provider.
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    /// # jobs.put(&7).await?;
    /// # jobs.lease().await?.nack().await?;
    /// # assert!(jobs.try_lease().await?.is_none());
    ///
    /// assert_eq!(jobs.dead_letters().len().await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn len(&self) -> Result<usize> {
        let name = self.handle.name()?;
        let provider = self.handle.live("look at")?;
        Ok(provider.queue_stats(name).await?.dead)
    }

    /// Tells whether there are no dead letters.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// assert!(bus.queue::<u32>("jobs").dead_letters().is_empty().await?);
    /// # Ok(()) }
    /// ```
    pub async fn is_empty(&self) -> Result<bool> {
        Ok(self.len().await? == 0)
    }

    /// Returns up to `max` dead letters, the oldest first. They stay where they are.
    ///
    /// # Cancel safety
    ///
    /// Cancel safe: it only reads.
    ///
    /// # Errors
    ///
    /// [`Unsupported`](crate::ErrorKind::Unsupported) if the provider has no leases. Otherwise as
    /// [`len`](Self::len).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs");
    ///
    /// for letter in jobs.dead_letters().peek(10).await? {
    ///     println!("{} after {} attempts: {}", letter.id(), letter.attempt(), letter.reason());
    /// }
    /// # Ok(()) }
    /// ```
    pub async fn peek(&self, max: usize) -> Result<Vec<DeadLetter<T>>> {
        let name = self.handle.name()?;
        let provider = self.handle.live("peek into")?;
        let stored = provider.queue_peek(name, Part::Dead, max).await?;
        stored
            .into_iter()
            .map(|stored| DeadLetter::new(&self.handle, stored))
            .collect()
    }

    /// Moves all dead letters to the back of the queue, the oldest first, and returns how many.
    ///
    /// # Delivery
    ///
    /// Each is moved in one step. In the queue it is a new item without attempts.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of them may be moved.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    /// # jobs.put(&7).await?;
    /// # jobs.lease().await?.nack().await?;
    /// # assert!(jobs.try_lease().await?.is_none());
    ///
    /// assert_eq!(jobs.dead_letters().redrive().await?, 1);
    /// assert_eq!(jobs.get().await?, 7);
    /// # Ok(()) }
    /// ```
    pub async fn redrive(&self) -> Result<usize> {
        self.redrive_which(Redrive::All).await
    }

    /// Moves the dead letters with these [ids](DeadLetter::id) to the back of the queue, and
    /// returns how many there were.
    ///
    /// # Delivery
    ///
    /// As [`redrive`](Self::redrive).
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of them may be moved.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let dead = bus.queue::<u32>("jobs").dead_letters();
    ///
    /// let letters = dead.peek(10).await?;
    /// let even = letters.iter().filter(|letter| letter.read().is_ok_and(|n| n % 2 == 0));
    /// dead.redrive_ids(even.map(|letter| letter.id().clone())).await?;
    /// # Ok(()) }
    /// ```
    pub async fn redrive_ids(&self, ids: impl IntoIterator<Item = MessageId>) -> Result<usize> {
        self.redrive_which(Redrive::Ids(ids.into_iter().collect()))
            .await
    }

    /// Removes all dead letters and returns how many.
    ///
    /// # Cancel safety
    ///
    /// If the future is dropped early, some or all of them may be removed.
    ///
    /// # Errors
    ///
    /// As [`peek`](Self::peek).
    ///
    /// # Examples
    ///
    /// ```
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
    /// # let bus = pymq::connect("memory://").await?;
    /// let jobs = bus.queue::<u32>("jobs").max_attempts(1);
    /// # jobs.put(&7).await?;
    /// # jobs.lease().await?.nack().await?;
    /// # assert!(jobs.try_lease().await?.is_none());
    ///
    /// assert_eq!(jobs.dead_letters().clear().await?, 1);
    /// # Ok(()) }
    /// ```
    pub async fn clear(&self) -> Result<usize> {
        let name = self.handle.name()?;
        let provider = self.handle.live("clear")?;
        provider.queue_clear(name, Part::Dead).await
    }

    async fn redrive_which(&self, which: Redrive) -> Result<usize> {
        let name = self.handle.name()?;
        let provider = self.handle.live("redrive in")?;
        provider.queue_redrive(name, which).await
    }
}

impl<T> Clone for DeadLetters<T> {
    fn clone(&self) -> Self {
        Self::new(self.handle.clone())
    }
}

impl<T> fmt::Debug for DeadLetters<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetters")
            .field("queue", self.handle.local().name())
            .finish_non_exhaustive()
    }
}

/// A copy of one dead letter.
///
/// # Examples
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> pymq::Result<()> {
/// # let bus = pymq::connect("memory://").await?;
/// let words = bus.queue::<String>("jobs");
/// words.header("tenant", "a").put("seven").await?;
/// let numbers = bus.queue::<u32>("jobs");
/// assert!(numbers.lease().await.is_err(), "it is not a number");
///
/// let letters = numbers.dead_letters().peek(1).await?;
///
/// assert!(letters[0].reason().starts_with("not a `u32`"));
/// assert_eq!(letters[0].attempt(), 1);
/// assert_eq!(letters[0].headers().get("tenant"), Some("a"));
/// assert_eq!(letters[0].message().body, "\"seven\"");
/// assert!(letters[0].read().is_err());
/// # Ok(()) }
/// ```
pub struct DeadLetter<T> {
    handle: Handle,
    id: MessageId,
    reason: String,
    attempt: u32,
    message: Message,
    item: PhantomData<fn() -> T>,
}

impl<T> DeadLetter<T> {
    fn new(handle: &Handle, stored: Stored) -> Result<Self> {
        let (Some(id), Some(reason)) = (stored.id, stored.reason) else {
            let context = format!("{}: without an id or a reason", handle.context(VERB));
            return Err(Error::new(ErrorKind::Provider, context));
        };
        let handle = handle.clone();
        Ok(Self {
            handle,
            id,
            reason,
            attempt: stored.attempt,
            message: stored.message,
            item: PhantomData,
        })
    }

    /// Returns the id, which [`DeadLetters::redrive_ids`] takes.
    pub fn id(&self) -> &MessageId {
        &self.id
    }

    /// Returns why the item is a dead letter, as text for a person.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// Returns how often the item was taken, including the last time.
    pub fn attempt(&self) -> u32 {
        self.attempt
    }

    /// Returns the headers with which the item was put.
    pub fn headers(&self) -> &Headers {
        &self.message.headers
    }

    /// Returns the message as it was put.
    pub fn message(&self) -> &Message {
        &self.message
    }
}

impl<T: Decode> DeadLetter<T> {
    /// Decodes the item.
    ///
    /// # Errors
    ///
    /// [`Codec`](crate::ErrorKind::Codec) if it is not a `T`. This may be why it is a dead letter.
    pub fn read(&self) -> Result<T> {
        T::decode(&self.message)
            .map_err(|cause| self.handle.unreadable::<T>(VERB, &self.message, cause))
    }
}

impl<T> Clone for DeadLetter<T> {
    fn clone(&self) -> Self {
        Self {
            handle: self.handle.clone(),
            id: self.id.clone(),
            reason: self.reason.clone(),
            attempt: self.attempt,
            message: self.message.clone(),
            item: PhantomData,
        }
    }
}

impl<T> fmt::Debug for DeadLetter<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DeadLetter")
            .field("id", &self.id)
            .field("reason", &self.reason)
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
