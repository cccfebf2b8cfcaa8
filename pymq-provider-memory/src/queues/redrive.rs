//! `redrive`: moves dead letters back to the ready messages.

use pymq_core::provider::Redrive;

use super::Queues;
use super::dead_letter::{self, DeadLetter};
use super::state::{Item, State};

impl Queues {
    pub(crate) fn redrive(&self, name: &str, which: Redrive) -> usize {
        self.step(name, |state, _| state.redrive(which))
            .unwrap_or_default()
    }
}

impl State {
    pub(super) fn redrive(&mut self, which: Redrive) -> usize {
        let letters: Vec<DeadLetter> = match which {
            Redrive::Ids(ids) => {
                let numbers = ids.iter().filter_map(dead_letter::number);
                numbers
                    .filter_map(|number| self.dead.remove(&number))
                    .collect()
            }
            _ => std::mem::take(&mut self.dead).into_values().collect(),
        };
        let count = letters.len();
        self.ready.extend(letters.into_iter().map(|letter| Item {
            attempt: 0,
            ..letter.item
        }));
        count
    }
}

#[cfg(test)]
mod tests {
    use pymq_core::provider::{Part, Settle};

    use super::super::fixture::{TestQueue, shown};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn dead_letters_come_back_as_new_in_the_order_of_the_ids() {
        let mut queue = TestQueue::of(&["a", "b"]);
        for delivery in queue.lease(2) {
            queue.settle(&[(
                &delivery,
                Settle::Bury {
                    reason: "why".to_owned(),
                },
            )]);
        }
        let letters = queue.now().0.peek(Part::Dead, 9);
        assert_eq!(
            (letters[0].attempt, letters[0].reason.as_deref()),
            (1, Some("why"))
        );

        let mut ids: Vec<_> = letters
            .iter()
            .rev()
            .filter_map(|letter| letter.id.clone())
            .collect();
        ids.insert(1, "unknown".into());
        ids.push(ids[0].clone());

        assert_eq!(queue.0.redrive(Redrive::Ids(ids)), 2);
        assert_eq!(queue.peek(Part::Ready), shown(&[("b", 0), ("a", 0)]));
    }
}
