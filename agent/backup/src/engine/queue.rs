//! A bounded queue between threads that can be closed at one end, or stopped at both.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// First in, first out.
pub(crate) struct Queue<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
    emptied: Condvar,
    bound: usize,
}

struct Inner<T> {
    items: VecDeque<T>,
    closed: bool,
    stopped: bool,
}

impl<T> Queue<T> {
    /// An empty one that holds at most `bound`.
    pub(crate) fn new(bound: usize) -> Self {
        let inner = Inner { items: VecDeque::new(), closed: false, stopped: false };
        Self { inner: Mutex::new(inner), filled: Condvar::new(), emptied: Condvar::new(), bound }
    }

    /// Waits for room; gives the item back when the queue was stopped or closed.
    pub(crate) fn push(&self, item: T) -> Result<(), T> {
        let mut inner = self.lock();
        while inner.items.len() >= self.bound && !inner.stopped && !inner.closed {
            inner = self.emptied.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
        if inner.stopped || inner.closed {
            return Err(item);
        }
        inner.items.push_back(item);
        drop(inner);
        self.filled.notify_one();
        Ok(())
    }

    /// Waits for an item; none when the queue is closed and empty, or stopped.
    pub(crate) fn pop(&self) -> Option<T> {
        let mut inner = self.lock();
        loop {
            if inner.stopped {
                return None;
            }
            if let Some(item) = inner.items.pop_front() {
                drop(inner);
                self.emptied.notify_one();
                return Some(item);
            }
            if inner.closed {
                return None;
            }
            inner = self.filled.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// No more will come.
    pub(crate) fn close(&self) {
        self.lock().closed = true;
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    /// Everybody goes home now.
    pub(crate) fn stop(&self) {
        let mut inner = self.lock();
        inner.stopped = true;
        inner.items.clear();
        drop(inner);
        self.filled.notify_all();
        self.emptied.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, Inner<T>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn everything_arrives_once_and_in_order() {
        let queue = Queue::new(3);
        let got: Vec<u32> = thread::scope(|scope| {
            scope.spawn(|| {
                (0..1000).for_each(|n| queue.push(n).unwrap());
                queue.close();
            });
            std::iter::from_fn(|| queue.pop()).collect()
        });
        assert_eq!(got, (0..1000).collect::<Vec<_>>());
        assert_eq!(queue.push(1), Err(1));
    }

    #[test]
    fn stopping_wakes_both_ends() {
        let (full, empty) = (Queue::new(1), Queue::<u32>::new(1));
        full.push(1).unwrap();
        thread::scope(|scope| {
            let pusher = scope.spawn(|| full.push(2));
            let popper = scope.spawn(|| empty.pop());
            full.stop();
            empty.stop();
            assert_eq!(pusher.join().unwrap(), Err(2));
            assert_eq!(popper.join().unwrap(), None);
        });
    }
}
