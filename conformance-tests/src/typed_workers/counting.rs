//! Many items, some of which panic: each is done once or dead, and nothing else happens.

use std::collections::HashMap;
use std::future::ready;
use std::panic::resume_unwind;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::typed::open;
use crate::wait::until;
use crate::{Clock, Harness, Outcome};

/// One in ten items panics, with a fixed text, a formatted text, or a value that is not a text.
/// Each of these is tried twice and dead, and each other item is done once.
pub async fn one_in_ten_panics_and_the_counts_are_exact(h: &dyn Harness) -> Outcome {
    let items: u32 = match h.clock() {
        Clock::Paused => 10_000,
        Clock::Real => 2_000,
    };
    let bus = open(h).await?;
    let jobs = bus.queue::<u32>("jobs").max_attempts(2);
    let begun = Arc::<Mutex<HashMap<u32, u32>>>::default();
    let handler = {
        let begun = Arc::clone(&begun);
        move |item: u32| {
            *begun
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .entry(item)
                .or_default() += 1;
            // Like `panic!`, without two thousand lines of output.
            match item % 30 {
                7 => resume_unwind(Box::new("text")),
                17 => resume_unwind(Box::new(format!("made text {item}"))),
                27 => resume_unwind(Box::new(item)),
                _ => ready(()),
            }
        }
    };
    for first in (0..items).step_by(500) {
        jobs.put_all(&(first..first + 500).collect::<Vec<_>>())
            .await?;
    }

    let worker = jobs
        .worker(handler)
        .concurrency(16)
        .backoff(Duration::ZERO, Duration::ZERO)
        .start()?;

    // All together may take longer than one `until`. So each `until` demands progress.
    let mut unfinished = jobs.stats().await?.unfinished();
    while unfinished > 0 {
        let jobs = &jobs;
        until("more is finished", move || async move {
            jobs.stats()
                .await
                .is_ok_and(|stats| stats.unfinished() < unfinished)
        })
        .await?;
        unfinished = jobs.stats().await?.unfinished();
    }
    worker.stop().await;
    let stats = bus.stats();
    assert_eq!(stats.panics, u64::from(items) / 5);
    assert_eq!(stats.dead_lettered, u64::from(items) / 10);
    // At least: an item that was taken ahead and given back is taken once more.
    assert!(stats.redelivered >= u64::from(items) / 10);
    assert_eq!(
        (stats.handler_failures, stats.leases_lost, stats.undecodable),
        (0, 0, 0)
    );

    let begun = begun.lock().unwrap_or_else(PoisonError::into_inner).clone();
    assert_eq!(begun.len(), items as usize);
    for (item, times) in begun {
        let expected = if item % 10 == 7 { 2 } else { 1 };
        assert_eq!(times, expected, "item {item}");
    }
    let letters = jobs.dead_letters().peek(items as usize).await?;
    assert_eq!(letters.len(), items as usize / 10);
    for letter in letters {
        let item = letter.read()?;
        let expected = match item % 30 {
            7 => "panicked: text".to_owned(),
            17 => format!("panicked: made text {item}"),
            _ => "panicked: a value that is not text".to_owned(),
        };
        assert!(letter.reason().contains(&expected), "{}", letter.reason());
        assert_eq!(letter.attempt(), 2);
    }
    Ok(())
}
