//! Whose batch is decoded next: so many at once, the others wait in a line for each sender, and the lines take turns.
//!
//! A sender that sends much waits behind itself. It never has more than half of the places, so that who comes next need not
//! wait for its large ones.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::oneshot;

/// The places and who waits for one. Clones are the same.
#[derive(Debug, Clone)]
pub(crate) struct Turns(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    places: usize,
    running: usize,
    lines: HashMap<String, Line>,
    /// Senders that wait, in the order of their turns.
    order: VecDeque<String>,
}

#[derive(Debug, Default)]
struct Line {
    running: usize,
    waiting: VecDeque<oneshot::Sender<Turn>>,
}

/// A place; free again when it is dropped.
#[derive(Debug)]
pub(crate) struct Turn {
    turns: Turns,
    sender: String,
    /// Nobody took it.
    is_void: bool,
}

impl Drop for Turn {
    fn drop(&mut self) {
        if !self.is_void {
            self.turns.over(&self.sender);
        }
    }
}

/// Leaves the line when the request is dropped while it waits.
struct Waiting<'a> {
    turns: &'a Turns,
    sender: &'a str,
    turn: oneshot::Receiver<Turn>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.turn.close();
        self.turns.leave(self.sender);
        // A turn that came in the meantime is in the channel, and over with it.
    }
}

enum Entered {
    Turn(Turn),
    Line(oneshot::Receiver<Turn>),
}

impl Turns {
    pub(crate) fn new(places: usize) -> Self {
        let (places, lines, order) = (places.max(1), HashMap::new(), VecDeque::new());
        Self(Arc::new(Mutex::new(State { places, running: 0, lines, order })))
    }

    /// More places, which those who wait have at once, or fewer: whoever has one keeps it.
    pub(crate) fn resize(&self, places: usize) {
        let mut state = self.0.lock();
        state.places = places.max(1);
        state.give_turns(self);
    }

    /// A place for this sender, at once or as soon as it is its turn.
    pub(crate) async fn turn(&self, sender: &str) -> Turn {
        loop {
            let turn = match self.enter(sender) {
                Entered::Turn(turn) => return turn,
                Entered::Line(turn) => turn,
            };
            let mut waiting = Waiting { turns: self, sender, turn };
            // The other end lives in the line for as long as we wait.
            if let Ok(turn) = (&mut waiting.turn).await {
                return turn;
            }
        }
    }

    /// How many batches of a sender wait.
    pub(crate) fn waiting_of(&self, sender: &str) -> usize {
        self.0.lock().lines.get(sender).map_or(0, |line| line.waiting.len())
    }

    fn enter(&self, sender: &str) -> Entered {
        let mut state = self.0.lock();
        let (is_free, max_of_sender) = (state.is_free(), state.max_of_sender());
        let line = state.lines.entry(sender.to_owned()).or_default();
        if is_free && line.running < max_of_sender && line.waiting.is_empty() {
            line.running += 1;
            state.running += 1;
            return Entered::Turn(self.turn_of(sender));
        }
        let (other_end, turn) = oneshot::channel();
        line.waiting.push_back(other_end);
        if line.waiting.len() == 1 {
            state.order.push_back(sender.to_owned());
        }
        Entered::Line(turn)
    }

    fn turn_of(&self, sender: &str) -> Turn {
        Turn { turns: self.clone(), sender: sender.to_owned(), is_void: false }
    }

    fn over(&self, sender: &str) {
        let mut state = self.0.lock();
        state.running = state.running.saturating_sub(1);
        if let Some(line) = state.lines.get_mut(sender) {
            line.running = line.running.saturating_sub(1);
        }
        state.tidy(sender);
        state.give_turns(self);
    }

    fn leave(&self, sender: &str) {
        let mut state = self.0.lock();
        if let Some(line) = state.lines.get_mut(sender) {
            line.waiting.retain(|waiting| !waiting.is_closed());
        }
        state.tidy(sender);
    }
}

impl State {
    fn is_free(&self) -> bool {
        self.running < self.places
    }

    fn max_of_sender(&self) -> usize {
        (self.places / 2).max(1)
    }

    /// Gives what is free to those who wait, one line after another.
    fn give_turns(&mut self, turns: &Turns) {
        let (mut unable, max_of_sender) = (0, self.max_of_sender());
        while self.is_free() && unable < self.order.len() {
            let Some(sender) = self.order.pop_front() else { return };
            let Some(line) = self.lines.get_mut(&sender) else { continue };
            if line.running >= max_of_sender {
                self.order.push_back(sender);
                unable += 1;
                continue;
            }
            if let Some(waiting) = line.waiting.pop_front() {
                match waiting.send(turns.turn_of(&sender)) {
                    Ok(()) => {
                        line.running += 1;
                        self.running += 1;
                        unable = 0;
                    }
                    // Its request is gone; we hold the lock that the end of its turn would take.
                    Err(mut turn) => turn.is_void = true,
                }
            }
            if line.waiting.is_empty() {
                self.tidy(&sender);
            } else {
                self.order.push_back(sender);
            }
        }
    }

    /// Forgets a sender of whom nothing runs or waits.
    fn tidy(&mut self, sender: &str) {
        let Some(line) = self.lines.get(sender) else { return };
        if line.waiting.is_empty() {
            let is_idle = line.running == 0;
            self.order.retain(|other| other != sender);
            if is_idle {
                self.lines.remove(sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn until_waiting(turns: &Turns, sender: &str, count: usize) {
        while turns.waiting_of(sender) != count {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn a_sender_with_many_batches_leaves_a_place_and_takes_turns_with_others() {
        let turns = Turns::new(2);
        let first = turns.turn("bully").await;
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = Vec::new();
        for number in 0..3 {
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            tasks.push(tokio::spawn(async move {
                let turn = turns.turn("bully").await;
                order.lock().push(format!("bully {number}"));
                tokio::task::yield_now().await;
                drop(turn);
            }));
        }
        until_waiting(&turns, "bully", 3).await;
        let other = turns.turn("other").await;
        let waits = tokio::spawn({
            let (turns, order) = (turns.clone(), Arc::clone(&order));
            async move {
                let _turn = turns.turn("third").await;
                order.lock().push("third".to_owned());
            }
        });
        until_waiting(&turns, "third", 1).await;
        drop((first, other));
        for task in tasks {
            task.await.unwrap();
        }
        waits.await.unwrap();
        let third = order.lock().iter().position(|name| name == "third").unwrap();
        assert!(third <= 1, "it waits for one of the bully's at most: {:?}", order.lock());
        let state = turns.0.lock();
        assert!(state.lines.is_empty() && state.order.is_empty() && state.running == 0, "nothing is left behind");
    }

    #[tokio::test]
    async fn fewer_places_end_no_turn_and_more_are_given_to_those_who_wait() {
        let turns = Turns::new(4);
        let held = [turns.turn("a").await, turns.turn("a").await, turns.turn("b").await];
        turns.resize(1);
        let waits = tokio::spawn({
            let turns = turns.clone();
            async move { turns.turn("c").await }
        });
        until_waiting(&turns, "c", 1).await;
        let [first, second, third] = held;
        drop((first, second));
        assert_eq!(turns.waiting_of("c"), 1, "one is under way, as many as may be");
        turns.resize(2);
        drop(waits.await.unwrap());
        turns.resize(1);
        drop(third);
        drop(turns.turn("d").await);
        let state = turns.0.lock();
        assert!(state.lines.is_empty() && state.running == 0);
    }

    #[tokio::test]
    async fn a_request_that_goes_away_gives_its_place_in_the_line_up() {
        let turns = Turns::new(1);
        let first = turns.turn("a").await;
        let gone = tokio::spawn({
            let turns = turns.clone();
            async move { drop(turns.turn("a").await) }
        });
        until_waiting(&turns, "a", 1).await;
        gone.abort();
        until_waiting(&turns, "a", 0).await;
        drop(first);
        drop(turns.turn("b").await);
        assert!(turns.0.lock().lines.is_empty());
    }
}
